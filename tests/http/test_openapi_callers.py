"""/openapi.json and /docs say how callers are known, as the file of the integration has it."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.nouns import Settings
from mainstay.core.nouns_callers import CallersConfig, CertificateCaller, OidcIssuer
from tests.http.certificates import Files, client
from tests.http.serving import serving
from tests.serving.toy import Toy

ISSUER = OidcIssuer(name="entra", issuer="https://127.0.0.1:1/nobody", audience=("mainstay",))
NAMED = CertificateCaller(name="batch", san="batch.example")
ANY = "Every request carries an API key or a token of entra, or comes by a connection whose certificate is a caller's."
KEYS: list[Any] = [{"bearer": []}, {"header": []}]


@pytest.mark.parametrize(
    ("clients", "callers", "security", "sentences"),
    [
        (None, CallersConfig(), KEYS, ["Every request carries an API key."]),
        (
            None,
            CallersConfig(oidc=(ISSUER,)),
            KEYS,
            ["Every request carries an API key or a token of entra."],
        ),
        (
            "optional",
            CallersConfig(certificates=(NAMED,)),
            [*KEYS, {"certificate": []}],
            ["Every request carries an API key, or comes by a connection whose certificate is a caller's."],
        ),
        (
            "required",
            CallersConfig(certificates=(NAMED,), oidc=(ISSUER,)),
            [{"bearer": [], "certificate": []}, {"header": [], "certificate": []}, {"certificate": []}],
            [
                ANY,
                "Nobody connects without a client certificate: give curl --cert and --key too.",
            ],
        ),
        (
            "required",
            CallersConfig(),
            [{"bearer": [], "certificate": []}, {"header": [], "certificate": []}],
            [
                "Every request carries an API key.",
                "Nobody connects without a client certificate: give curl --cert and --key too.",
            ],
        ),
    ],
)
def test_what_is_accepted_is_described(
    tmp_path: Path, clients: Any, callers: CallersConfig, security: list[Any], sentences: list[str]
) -> None:
    files = Files(tmp_path)
    tls = None if clients is None else files.tls(clients)
    toy = Toy(tmp_path, settings=Settings(tls=tls), callers=callers)
    with serving(toy) as served:
        caller = served.caller(toy.key(), None if tls is None else client("batch.example"))
        document = caller.ask("GET", "/openapi.json").json
        page = html.unescape(caller.ask("GET", "/docs").body.decode())
        caller.close()
    toy.journal.close()
    assert document["security"] == security
    schemes = document["components"]["securitySchemes"]
    assert {name for one in security for name in one} | {"card"} == set(schemes)
    assert ("entra" in schemes["bearer"]["description"]) is bool(callers.oidc)
    assert re.findall(r"<p>((?:Every request|Nobody connects)[^<]*)</p>", page) == sentences
