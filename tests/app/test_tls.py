"""What is said of the files that listeners speak TLS with, and `mainstay up` with them."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest

from mainstay.app import export, tls
from mainstay.app.check import check
from mainstay.app.place import read_file
from mainstay.app.status import read_status
from mainstay.core.certificates import parts_of, validity
from mainstay.core.clock import DAY, SECOND, SystemClock
from mainstay.core.errors import Refused
from mainstay.core.nouns import Settings
from mainstay.core.verdicts import Finding, Verdict
from mainstay.testing.ports import free_port
from tests.app.shop import Shop
from tests.app.test_up import up
from tests.http.certificates import LONG, Files, client, signed
from tests.http.issuer import issuing
from tests.serving.toy import integration

SETTINGS = "settings: {tls: {certificate: api.pem, key: api.key}, status_page: {port: PAGE}}"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def judged(folder: Path, files: Files, *, clients: Any = "required", days: int = 0) -> dict[str, Finding]:
    made = msgspec.structs.replace(files.tls(clients), certificate="api.pem", key="api.key")
    now_us = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * SECOND + days * DAY
    found = tls.judge(integration(settings=Settings(tls=made), folder=str(folder)), now_us)
    return {one.check: one for one in found if one.verdict is not Verdict.PASS}


def test_files_that_fit_are_told_with_their_end(tmp_path: Path, files: Files) -> None:
    assert judged(tmp_path, files) == {}
    made = integration(settings=Settings(tls=files.tls()))
    (one,) = tls.judge(made, 0)
    assert one.verdict is Verdict.FAIL
    assert "is valid from" in one.sentence
    (one,) = tls.judge(made, int(LONG.timestamp()) * SECOND - 22 * DAY)
    assert (one.verdict, one.sentence) == (Verdict.PASS, f"{files.certificate} is valid until 2037-01-01T00:00Z")
    assert list(tls.judge(integration(), 0)) == []


def test_a_certificate_that_ends_soon_is_warned_of(tmp_path: Path, files: Files) -> None:
    files.renew(not_after=datetime(2030, 1, 21, tzinfo=UTC))
    one = judged(tmp_path, files)["tls.certificate"]
    assert (one.verdict, "ends in 20 days, 2030-01-21" in one.sentence) == (Verdict.WARN, True)
    one = judged(tmp_path, files, days=20)["tls.certificate"]
    assert (one.verdict, "ended 2030-01-21" in one.sentence) == (Verdict.FAIL, True)
    assert "renewed" in one.mend


@pytest.mark.parametrize(
    ("change", "setting", "sentence"),
    [
        (lambda files: files.certificate.unlink(), "certificate", "No such file"),
        (lambda files: files.key.write_bytes(b""), "key", "no private key in PEM"),
        (lambda files: files.certificate.write_bytes(b"\0\xff"), "certificate", "no certificate in PEM"),
        (
            lambda files: files.certificate.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
            "certificate", "cannot be used",
        ),
        (lambda files: files.key.write_bytes(signed("x").private_key_pem.bytes()), "key", "it is not the key of"),
        (lambda files: files.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "key", "wants a password"),
        (
            lambda files: files.key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
            "certificate", "cannot be used",
        ),
        (lambda files: files.client_ca.write_text("nothing"), "client_ca", "no certificates in PEM"),
        (lambda files: files.client_ca.unlink(), "client_ca", "No such file"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_named(
    tmp_path: Path, files: Files, change: Any, setting: str, sentence: str
) -> None:
    change(files)
    (one,) = judged(tmp_path, files).values()
    assert (one.check, one.verdict) == (f"tls.{setting}", Verdict.FAIL)
    assert sentence in one.sentence
    assert one.mend
    with pytest.raises(Refused, match=sentence):
        tls.Secured(files.tls("required"), tmp_path)


def test_a_key_that_everybody_may_read_is_warned_of(tmp_path: Path, files: Files) -> None:
    files.key.chmod(0o644)
    one = judged(tmp_path, files)["tls.key"]
    assert (one.verdict, one.mend) == (Verdict.WARN, f"chmod o= {files.key}")


def test_a_subject_is_read_in_any_order_and_by_long_names() -> None:
    assert parts_of("CN=a,O=b") == parts_of(" organizationName = b , cn=a ") == (("CN", "a"), ("O", "b"))
    assert parts_of(r"CN=a\,b\=c+UID=\C3\B6") == (("CN", "a,b=c"), ("UID", "ö"))
    for wrong in ("a", "CN", "=a", "CN=a,,O=b"):
        with pytest.raises(ValueError, match="a subject is parts"):
            parts_of(wrong)


def test_bytes_that_are_no_certificate_are_none() -> None:
    for wrong in (b"", b"\x30", b"\x30\x82\xff\xff", b"\x30\x03\x30\x01\x00", b"\0" * 100):
        with pytest.raises((ValueError, IndexError)):
            validity(wrong)


def test_check_and_status_tell_of_the_files(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    files = Files(tmp_path)
    shop.begin(more=SETTINGS.replace("PAGE", "0"))
    areas = {one.name: one for one in check(shop.place, read_file(shop.file), SystemClock()).areas}
    assert areas["tls"].verdict is Verdict.PASS
    assert "tls.certificate" not in {one.check for one in read_status(shop.place, SystemClock()).wrong}
    files.certificate.unlink()
    areas = {one.name: one for one in check(shop.place, read_file(shop.file), SystemClock()).areas}
    assert areas["tls"].verdict is Verdict.FAIL
    (told,) = [one for one in read_status(shop.place, SystemClock()).wrong if one.check.startswith("tls")]
    assert str(files.certificate) in told.sentence


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ("status_page: {host: 0.0.0.0, port: 8701}", True),
        ("status_page: {host: '::', port: 8701}", True),
        ("status_page: {host: status.example, port: 8701}", True),
        ("status_page: {host: 0.0.0.0, port: 8701, control: off}", False),
        ("status_page: {host: '::1', port: 8701}", False),
        ("status_page: {port: 8701}", False),
        ("status_page: {host: 0.0.0.0, port: 8701}, tls: {certificate: api.pem, key: api.key}", False),
        ("host: 0.0.0.0", False),
    ],
)
def test_check_warns_where_admin_keys_travel_in_the_clear(tmp_path: Path, settings: str, warned: bool) -> None:
    Files(tmp_path)
    shop = Shop(tmp_path)
    shop.write(more=f"settings: {{{settings}}}\n")
    areas = check(shop.place, read_file(shop.file), SystemClock()).areas
    found = [one for area in areas for one in area.findings if one.check == "tls.control"]
    assert [one.verdict for one in found] == [Verdict.WARN] * warned
    assert all("in the clear" in one.sentence and "127.0.0.1" in one.mend for one in found)


def test_the_image_of_one_that_speaks_tls_asks_whether_it_listens(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    oidc = "callers: {oidc: [{name: a, issuer: 'https://x', audience: b}]}"
    shop.write(more=f"{SETTINGS.replace('PAGE', '0')}\n{oidc}\n")
    texts = export.docker(export.look(shop.place, home=None, user="mainstay"))
    assert "create_connection" in texts["Dockerfile"]
    assert '"mainstay[oidc]==' in texts["Dockerfile"]
    assert "api.key" in texts[".dockerignore"].splitlines()


CLIENT = client()


def asked(port: int, path: str, token: str = "") -> int:
    body, headers = b'{"key": "person-0003"}' if token else None, {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"https://127.0.0.1:{port}{path}", body, headers if token else {})
    try:
        with urllib.request.urlopen(request, timeout=15, context=CLIENT) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_up_speaks_tls_on_every_listener_and_no_longer_where_the_file_says_so(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    files = Files(tmp_path)
    port, page = free_port(), free_port()
    log = tmp_path / "up.log"
    with issuing() as issuer:
        oidc = f"callers: {{oidc: [{{name: own, issuer: '{issuer.url}', audience: mainstay}}]}}"
        shop.begin(more=f"{SETTINGS.replace('PAGE', str(page))}\n{oidc}\n")
        token = issuer.token()
        with up(shop, port, "--workers", "1"):
            until(lambda: asked(port, "/health/ready") == 200)
            until(lambda: asked(page, "/health/live") != 0)
            assert f"API on https://127.0.0.1:{port}" in log.read_text()
            assert f"status page on https://127.0.0.1:{page}" in log.read_text()
            assert asked(port, "/v1/churn/predict", token) == 200
            assert asked(port, "/v1/churn/predict", token + "x") == 401
            change(shop, (port, page), files)


def change(shop: Shop, ports: tuple[int, int], files: Files) -> None:
    """Renews the certificate, and then lets the file ask for no TLS: `ports` of API and status page follow."""
    pem = files.renew().decode()
    for each in ports:
        until(lambda each=each: ssl.get_server_certificate(("127.0.0.1", each)).strip() == pem.strip())
    shop.write(more=f"settings: {{status_page: {{port: {ports[1]}}}}}")
    argv = [sys.executable, "-m", "mainstay", "apply", "--yes"]
    subprocess.run(argv, cwd=shop.folder, check=True, capture_output=True)
    for each in ports:
        until(lambda each=each: plain(each) != 0)


def plain(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_up_does_not_begin_with_files_that_do_not_fit(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    files = Files(tmp_path)
    shop.begin(more=SETTINGS.replace("PAGE", "0"))
    files.key.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "mainstay", "up", "--port", str(free_port())], cwd=tmp_path, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert f"{files.key}: the file cannot be read" in done.stderr
