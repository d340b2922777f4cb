"""Callers who come with a token of an issuer, on every door, against a real one on this machine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

import grpc
from mainstay.app import issuers
from mainstay.core.addresses import safe
from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.errors import MainstayError
from mainstay.core.nouns_callers import CallersConfig, ClaimedRoles, OidcIssuer
from mainstay.core.rate import Rate
from mainstay.core.verdicts import Verdict
from mainstay.grpc.door import OIP, OPEN
from mainstay.serving.token_rules import caller_of, claimed, cut, keys_of
from mainstay.serving.tokens import WAITING_MOST
from tests.grpc.test_door import CALLS, by_key, call, code
from tests.grpc.test_streams import Stream
from tests.http.certificates import Files
from tests.http.issuer import Issuer, issuing, part, private, public_pem
from tests.http.serving import Said, Served, serving
from tests.serving.toy import NOW, Toy, integration

NOW_S = NOW // SECOND


@pytest.fixture(scope="module")
def shared() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


@pytest.fixture
def issuer(shared: Issuer) -> Issuer:
    shared.away, shared.answers, shared.keys = False, {}, {}
    shared.rotate("first")
    shared.asked.clear()
    return shared


Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path, issuer: Issuer) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def begin(*, grpc: str = "", **fields: Any) -> Served:
            toy = Toy(tmp_path, callers=CallersConfig(oidc=(entry(issuer, **fields),)))
            stack.callback(toy.journal.close)
            return stack.enter_context(serving(toy, grpc=grpc))

        yield begin


def entry(issuer: Issuer, **fields: Any) -> OidcIssuer:
    said = {"name": "entra", "issuer": issuer.url, "audience": ("mainstay",), **fields}
    return OidcIssuer(**said)


def ask(served: Served, token: str | bytes, method: str = "POST", path: str = "/v1/churn/predict") -> Said:
    caller = served.caller(token if isinstance(token, str) else token.decode("latin-1"))
    try:
        return caller.ask(method, path, {"key": "A"} if method == "POST" else None)
    finally:
        caller.close()


def good(issuer: Issuer, **claims: Any) -> str:
    return issuer.token(now=NOW_S, **claims)


def test_a_token_is_a_caller_on_both_roads(start: Start, issuer: Issuer) -> None:
    served = start()
    token = good(issuer)
    first, second = ask(served, token), ask(served, token)
    assert (first.status, second.status) == (200, 200)
    receipt = served.toy.receipt(first.json["receipt"])
    assert receipt.caller.startswith("oidc-entra-")
    assert served.toy.receipt(second.json["receipt"]).caller == receipt.caller
    assert "ada" not in str(receipt)
    assert ask(served, token, "GET", f"/v1/receipts/{first.json['receipt']}").status == 200
    other = good(issuer, sub="bob@example.com")
    assert ask(served, other, "GET", f"/v1/receipts/{first.json['receipt']}").status == 404
    caller = served.caller()
    assert caller.ask("POST", "/v1/churn/predict", {"key": "A"}, X_API_Key=token).status == 200
    caller.close()
    assert ask(served, served.toy.key()).status == 200
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_known_token_costs_no_signature(start: Start, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    served = start()
    token = good(issuer)
    assert ask(served, token).status == 200
    monkeypatch.setattr(jwt.PyJWS, "decode_complete", lambda *_args, **_named: pytest.fail("checked again"))
    assert ask(served, token).status == 200
    assert ask(served, token, "GET", "/openapi.json").status == 200


def hs256(issuer: Issuer, secret: bytes, **head: Any) -> str:
    """A token whose 'signature' is a MAC by what everybody knows."""
    claims = {"iss": issuer.url, "aud": "mainstay", "sub": "eve", "exp": NOW_S + 600}
    signed = f"{part({'typ': 'JWT', 'kid': 'first', 'alg': 'HS256', **head})}.{part(claims)}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def swapped(token: str, **head: Any) -> str:
    """The token with another header, its signature left as it was."""
    first, body, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(first + "=="))
    return f"{part({**said, **head})}.{body}.{signature}"


def forged(issuer: Issuer, **claims: Any) -> str:
    """Signed by a key that is not the issuer's, under the name of one that is."""
    said = {"iss": issuer.url, "aud": "mainstay", "sub": "eve", "exp": NOW_S + 600, **claims}
    return jwt.encode(said, private("RS256", 7), algorithm="RS256", headers={"kid": "first"})


WRONG: dict[str, Callable[[Issuer], str]] = {
    "alg none": lambda one: f"{part({'alg': 'none', 'kid': 'first'})}.{good(one).split('.')[1]}.",
    "alg None": lambda one: swapped(good(one), alg="None"),
    "none with a signature": lambda one: swapped(good(one), alg="none"),
    "HS256 by the public key": lambda one: hs256(one, public_pem(one.keys["first"][1])),
    "HS256 by the public key, said to be RS256": lambda one: hs256(one, public_pem(one.keys["first"][1]), alg="RS256"),
    "HS256 by nothing": lambda one: hs256(one, b""),
    "HS256 by its own key": lambda one: hs256(one, b"k", jwk={"kty": "oct", "k": "aw"}),
    "another key": forged,
    "an algorithm that is not allowed": lambda one: jwt.encode(
        {"iss": one.url, "aud": "mainstay", "sub": "a", "exp": NOW_S + 9},
        one.keys["first"][1],
        "RS512",
        {"kid": "first"},
    ),
    "PS256 by an RS256 key": lambda one: swapped(good(one), alg="PS256"),
    "an unknown key": lambda one: good(one, head={"kid": "no such"}),
    "a key's name that is none": lambda one: swapped(good(one), kid=["first"]),
    "changed claims": lambda one: ".".join(
        (
            good(one).split(".")[0],
            part({"iss": one.url, "aud": "mainstay", "sub": "x", "exp": NOW_S + 9}),
            good(one).split(".")[2],
        )
    ),
    "no signature": lambda one: good(one).rpartition(".")[0] + ".",
    "half a signature": lambda one: good(one)[:-100],
    "crit": lambda one: good(one, head={"crit": ["exp"]}),
    "b64": lambda one: swapped(good(one), b64=False),
    "a token for something else": lambda one: good(one, head={"typ": "logout+jwt"}),
    "a type that is none": lambda one: swapped(good(one), typ=7),
    "another audience": lambda one: good(one, aud="billing"),
    "no audience": lambda one: good(one, aud=None),
    "an audience that begins so": lambda one: good(one, aud="mainstay2"),
    "an audience that is no text": lambda one: good(one, aud={"mainstay": 1}),
    "another issuer": lambda one: good(one, iss="http://127.0.0.1:1"),
    "an issuer with a slash": lambda one: good(one, iss=one.url + "/"),
    "no issuer": lambda one: good(one, iss=None),
    "a list of issuers": lambda one: swapped(good(one), iss=[one.url]),
    "expired": lambda one: good(one, exp=NOW_S - 61),
    "not yet valid": lambda one: good(one, nbf=NOW_S + 61),
    "made in the future": lambda one: good(one, iat=NOW_S + 61),
    "no end": lambda one: good(one, exp=None),
    "an end in words": lambda one: good_raw(one, b'"2099-01-01"'),
    "an end that is true": lambda one: good_raw(one, b"true"),
    "an end that is too large": lambda one: good_raw(one, b"1e300"),
    "an end of many digits": lambda one: good_raw(one, b"9" * 4_000),
    "no subject": lambda one: good(one, sub=None),
    "an empty subject": lambda one: good(one, sub=""),
    "encrypted": lambda one: part({"alg": "RSA-OAEP", "enc": "A256GCM"}) + ".a.b.c.d",
    "nothing in it": lambda one: "ey..",
    "no JSON": lambda one: "eyJh.eyJh.eyJh",
    "deep JSON": lambda one: part(b'{"a":' + b"[" * 3_000) + ".e30.x",
    "a list": lambda one: f"{part({'alg': 'RS256'})}.{part([2])}.x",
    "too long": lambda one: good(one, more="x" * 9_000),
    "letters of no alphabet": lambda one: "eyJ\xff.eyJ\xff.\xff",
}


def good_raw(issuer: Issuer, end: bytes) -> str:
    """Rightly signed, with this as its `exp`."""
    body = b'{"iss":"%s","aud":"mainstay","sub":"a","exp":%s}' % (issuer.url.encode(), end)
    return jwt.PyJWS().encode(body, issuer.keys["first"][1], "RS256", {"kid": "first"})


def test_every_wrong_token_is_refused_alike(start: Start, issuer: Issuer) -> None:
    served = start()
    assert ask(served, good(issuer)).status == 200
    told = set()
    for name, make in WRONG.items():
        said = ask(served, make(issuer))
        assert said.status == 401, name
        assert said.headers["www-authenticate"] == 'Bearer realm="mainstay"'
        told.add(said.body)
    assert len(told) == 1, told
    (body,) = told
    assert b"API key" not in body, "nobody is told to bring what was never asked of it"
    assert len(served.toy.receipts()) == 1


def test_clocks_may_differ_a_little(start: Start, issuer: Issuer) -> None:
    served = start()
    for claims in ({"exp": NOW_S - 59}, {"nbf": NOW_S + 59}, {"iat": NOW_S + 59}, {"aud": ["x", "mainstay"]}):
        assert ask(served, good(issuer, **claims)).status == 200, claims
    assert ask(served, good(issuer, head={"typ": "at+JWT"})).status == 200


def test_a_token_ends_also_when_it_is_known(start: Start, issuer: Issuer) -> None:
    served = start(skew_us=SECOND)
    caller = served.caller(good(issuer, exp=NOW_S + 10))
    assert caller.predict(key="A").status == 200
    served.toy.clock.advance(10 * SECOND)
    assert caller.predict(key="A").status == 200
    served.toy.clock.advance(SECOND)
    assert caller.predict(key="A").status == 401
    caller.close()


def test_a_claim_says_the_role(start: Start, issuer: Issuer) -> None:
    roles = ClaimedRoles(claim="realm_access.roles", values={"scorer": "predict", "ops": "operate"})
    served = start(roles=roles)
    tokens = {
        given: good(issuer, realm_access={"roles": given.split("+")}) for given in ("scorer", "ops+scorer", "other", "")
    }
    assert [ask(served, one).status for one in tokens.values()] == [200, 200, 403, 403]
    metrics = [ask(served, one, "GET", "/metrics").status for one in tokens.values()]
    assert metrics == [403, 200, 403, 403]
    assert ask(served, good(issuer)).status == 403
    assert ask(served, good(issuer, realm_access="scorer")).status == 403


def test_a_token_must_have_the_scopes_of_this_integration(start: Start, issuer: Issuer) -> None:
    served = start(scopes=("churn", "predict"))
    cases: list[tuple[int, dict[str, Any]]] = [
        (200, {"scope": "openid churn predict"}), (200, {"scp": ["predict", "churn"]}),
        (200, {"scp": "churn", "scope": "predict"}), (401, {}), (401, {"scope": "churn"}),
        (401, {"scope": "churn.predict"}), (401, {"scope": {"churn": 1}}), (401, {"scp": [["churn"]]}),
    ]  # fmt: skip
    for wanted, claims in cases:
        assert ask(served, good(issuer, **claims)).status == wanted, claims


def test_a_cards_token_stands_as_long_as_the_issuer_behind_it(start: Start, issuer: Issuer) -> None:
    served = start()
    caller = served.caller(good(issuer))
    wish = {"key": "A", "user": "ada"}
    made = caller.ask("POST", "/v1/churn/card-tokens", wish, Content_Type="application/json")
    assert made.status in (200, 201), made
    caller.close()
    card = served.caller(made.json["token"])
    assert card.ask("POST", "/v1/churn/card", {}).status == 200
    served.toy.file = msgspec.structs.replace(served.toy.file, callers=CallersConfig())
    served.toy.reapply()
    assert card.ask("POST", "/v1/churn/card", {}).status == 401
    card.close()


def test_each_subject_has_its_rate(start: Start, issuer: Issuer) -> None:
    served = start(rate=Rate(1, MINUTE))
    assert [ask(served, good(issuer)).status for _ in range(2)] == [200, 429]
    assert ask(served, good(issuer, sub="bob")).status == 200


@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "ES384", "EdDSA"])
def test_other_algorithms_count_where_the_file_says_so(start: Start, issuer: Issuer, algorithm: str) -> None:
    issuer.rotate("other", algorithm, keep=True)
    served = start(algorithms=(algorithm,))
    assert ask(served, good(issuer, kid="other")).status == 200
    assert ask(served, good(issuer, kid="first")).status == 401


def test_keys_rotate_without_a_failed_request(start: Start, issuer: Issuer) -> None:
    served = start()
    old = good(issuer)
    assert ask(served, old).status == 200
    served.toy.clock.advance(6 * SECOND)
    issuer.rotate("second", keep=True)
    assert ask(served, good(issuer, kid="second")).status == 200
    assert ask(served, old).status == 200
    served.toy.clock.advance(6 * SECOND)
    issuer.rotate("third")
    assert ask(served, good(issuer, kid="third")).status == 200
    assert ask(served, old).status == 401  # Its key is no longer the issuer's: no memory of it counts.


def test_a_key_that_is_taken_back_ends_its_tokens_by_itself(start: Start, issuer: Issuer) -> None:
    served = start()
    caller = served.caller(issuer.token(now=NOW_S, exp=NOW_S + 3_600))
    assert caller.predict(key="A").status == 200
    issuer.rotate("first")  # the same name, another key
    served.toy.clock.advance(5 * MINUTE)
    until(lambda: caller.predict(key="A").status == 401)
    caller.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_made_up_keys_make_us_ask_seldom(start: Start, issuer: Issuer) -> None:
    served = start()
    assert ask(served, good(issuer)).status == 200
    served.toy.clock.advance(6 * SECOND)
    before = len(issuer.asked)
    for n in range(10):
        assert ask(served, good(issuer, head={"kid": f"made up {n}"})).status == 401
    assert len(issuer.asked) == before + 2  # discovery and keys, once


def test_an_issuer_that_is_away_leaves_its_keys(start: Start, issuer: Issuer, capfd: Any) -> None:
    served = start()
    assert ask(served, good(issuer)).status == 200
    issuer.away = True
    for _ in range(2):
        served.toy.clock.advance(6 * MINUTE)
        before = len(issuer.asked)
        until(partial(lambda seen: len(issuer.asked) > seen, before))
        assert ask(served, issuer.token(now=NOW_S, exp=NOW_S + 9_000, sub="new")).status == 200
    until(lambda: bool(issuers.failing(served.toy.state, served.toy.file)))
    (finding,) = issuers.findings(issuers.failing(served.toy.state, served.toy.file))
    assert (finding.check, finding.verdict) == ("callers.entra", Verdict.WARN)
    assert "answers 503" in finding.sentence
    assert issuers.failing(served.toy.state, integration()) == ()
    issuer.away = False
    served.toy.clock.advance(6 * SECOND)
    until(lambda: not issuers.failing(served.toy.state, served.toy.file))
    said = capfd.readouterr().err
    assert (said.count("gives no keys"), said.count("gives keys again")) == (1, 1)


def test_an_issuer_that_comes_later_is_asked_again(start: Start, issuer: Issuer) -> None:
    issuer.away = True
    served = start()
    assert ask(served, good(issuer)).status == 401
    issuer.away = False
    served.toy.clock.advance(6 * SECOND)
    assert ask(served, good(issuer)).status == 200


def test_a_file_that_no_longer_names_the_issuer_is_heeded_at_once(start: Start, issuer: Issuer) -> None:
    served = start()
    caller = served.caller(good(issuer))
    assert caller.predict(key="A").status == 200
    for config in (CallersConfig(oidc=(entry(issuer, audience=("other",)),)), CallersConfig()):
        served.toy.file = msgspec.structs.replace(served.toy.file, callers=config)
        served.toy.reapply()
        assert caller.predict(key="A").status == 401
    caller.close()


@contextlib.contextmanager
def dripping(until: threading.Event, answer: bytes, secure: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers a byte at a time, for long."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with contextlib.suppress(OSError), connection, contextlib.ExitStack() as closing:
            spoken = connection
            if secure is not None:
                spoken = closing.enter_context(secure.wrap_socket(connection, server_side=True))
            spoken.recv(65536)
            for byte in answer:
                spoken.sendall(bytes((byte,)))
                if until.wait(0.05):
                    break

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        until.set()
        thread.join(10)
        listening.close()


@pytest.mark.parametrize("part", ["head", "body"])
def test_an_issuer_that_answers_a_byte_at_a_time_is_given_up(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "SECONDS", 0.3)
    answer = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200 if part == "head" else b"HTTP/1.0 200\r\n\r\n" + b" " * 200 + b"{}"
    until = threading.Event()
    with dripping(until, answer) as port:
        with pytest.raises(MainstayError, match="not in time"):
            issuers.fetched(f"http://127.0.0.1:{port}/keys")
        assert not until.is_set()


def test_an_issuer_is_asked_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    answer = b'HTTP/1.0 200\r\n\r\n{"keys": []}'
    with (
        dripping(threading.Event(), answer, context) as port,
        pytest.raises(MainstayError, match="does not answer"),
    ):
        issuers.fetched(f"https://127.0.0.1:{port}/keys")  # nobody here trusts it
    monkeypatch.setenv("SSL_CERT_FILE", str(files.client_ca))
    with dripping(threading.Event(), answer, context) as port:
        assert issuers.fetched(f"https://127.0.0.1:{port}/keys") == {"keys": []}


def test_an_open_stream_outlives_a_change_of_the_issuers_other_keys(start: Start, issuer: Issuer) -> None:
    issuer.rotate("second", keep=True)
    served = start(grpc="127.0.0.1:0")
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        stream = Stream(channel, good(issuer, kid="second"))
        assert stream.ask(by_key(b"A")) == ""
        del issuer.keys["first"]
        served.toy.clock.advance(6 * MINUTE)
        served.toy.desk.callers.refresh()
        assert stream.ask(by_key(b"A")) == ""
        stream.close()


def test_grpc_takes_tokens(start: Start, issuer: Issuer) -> None:
    served = start(grpc="127.0.0.1:0")
    infer, body = f"/{OIP}/ModelInfer", by_key(b"A").SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        assert call(channel, infer, body, good(issuer))
        assert served.toy.receipts()[0].caller.startswith("oidc-entra-")
        for path in CALLS:
            assert code(channel, path, token=good(issuer, aud="x")) == ("OK" if path in OPEN else "UNAUTHENTICATED")
        for name in ("alg none", "HS256 by the public key", "expired", "no end", "another key"):
            assert code(channel, infer, body, WRONG[name](issuer)) == "UNAUTHENTICATED", name


def test_a_slow_issuer_keeps_few_waiting_and_nobody_else(tmp_path: Path, issuer: Issuer) -> None:
    toy = Toy(tmp_path, callers=CallersConfig(oidc=(entry(issuer),)))
    go_on, began = threading.Event(), threading.Event()
    tokens: Any = toy.desk.callers._tokens
    asked = tokens._ask

    def slow(one: OidcIssuer) -> Any:
        began.set()
        assert go_on.wait(10)
        return asked(one)

    tokens._ask = slow

    async def story() -> list[bool]:
        waiting = [asyncio.create_task(toy.desk.authenticate(good(issuer).encode())) for _ in range(WAITING_MOST + 5)]
        await asyncio.to_thread(began.wait, 10)
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        key = toy.key()
        assert getattr(await toy.desk.authenticate(key.encode()), "name", "") == "predict"
        assert len(done) == 5
        go_on.set()
        return [getattr(one, "status", 200) == 200 for one in await asyncio.gather(*waiting)]

    found = asyncio.run(story())
    assert found.count(True) == WAITING_MOST
    toy.close()


# --- asking ---------------------------------------------------------------------------------------------------------


def test_discovery_must_be_the_issuers_own(issuer: Issuer) -> None:
    page = issuers.DISCOVERY
    assert len(issuers.ask(entry(issuer))) == 1
    assert len(issuers.ask(entry(issuer, jwks_url=f"{issuer.url}/keys"))) == 1
    for document, said in (
        ({"issuer": "https://evil.example.com", "jwks_uri": f"{issuer.url}/keys"}, "is of another issuer"),
        ({"issuer": issuer.url}, "does not say where"),
        ({"issuer": issuer.url, "jwks_uri": "http://keys.example.com/"}, "neither https nor on this machine"),
        ({"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}, "neither https nor on this machine"),
        (f"{issuer.url}/keys", "answers 302"),
        ([1], "gives no JSON object"),
        ({"issuer": issuer.url, "jwks_uri": f"{issuer.url}{page}"}, "is no set of keys"),
        ({"x": "y" * 2_000_000}, "gives no JSON object of at most 1 MiB"),
    ):
        issuer.answers[page] = document
        with pytest.raises(MainstayError, match=said):
            issuers.ask(entry(issuer))
    with pytest.raises(MainstayError, match="does not answer: Connection refused"):
        issuers.ask(OidcIssuer(name="x", issuer="http://127.0.0.1:9", audience=("m",)))


def test_check_asks_the_issuer(issuer: Issuer) -> None:
    def found(**fields: Any) -> tuple[Verdict, str]:
        (one,) = issuers.judge(integration(callers=CallersConfig(oidc=(entry(issuer, **fields),))))
        return one.verdict, one.sentence

    assert found() == (Verdict.PASS, "issuer entra has 1 key for RS256, ES256")
    assert found(algorithms=("EdDSA",))[0] is Verdict.FAIL
    issuer.away = True
    assert found()[0] is Verdict.ERROR


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://login.example.com/acme", True), ("http://127.0.0.1:80", True), ("http://localhost/x", True),
        ("http://[::1]:80/", True), ("http://login.example.com", False), ("https://me:pw@x", False),
        ("https://", False), ("ftp://x", False), ("https://x#y", False),
        ("http://127.0.0.1.example.com", False), ("https://x y", False),
        ("http://169.254.169.254/", False), ("http://localhost.example.com", False), ("https://[", False),
    ],
)  # fmt: skip
def test_addresses_that_decide_who_gets_in(url: str, fine: bool) -> None:
    assert safe(url) is fine


def test_keys_that_do_not_fit_are_passed_over(issuer: Issuer) -> None:
    (plain,) = issuer.jwks()["keys"]
    weak = {**plain, "n": part(b"\xff" * 128)}
    unfit: list[dict[str, Any]] = [
        {}, {"kty": "oct", "k": "a2V5", "kid": "first", "alg": "HS256"}, {**plain, "use": "enc"}, weak,
        {**plain, "key_ops": ["sign"]}, {**plain, "alg": "RS512"}, {**plain, "kid": 7}, {**plain, "n": 5},
        {**plain, "kty": []}, {**plain, "kty": {"RSA": 1}},
        {**plain, "kty": "EC"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "e"},
    ]  # fmt: skip
    assert keys_of(unfit, ("RS256", "ES256", "HS256", "none")) == {}
    assert list(keys_of([*unfit, plain], ("RS256",))) == [("first", "RS256")]


def test_a_token_without_a_key_name_needs_that_there_is_one_key(start: Start, issuer: Issuer) -> None:
    served = start()
    nameless = jwt.encode(claimed(good(issuer).encode())[1], issuer.keys["first"][1], "RS256")  # type: ignore[index]
    assert ask(served, nameless).status == 200
    issuer.rotate("second", keep=True)
    served.toy.clock.advance(6 * SECOND)
    assert ask(served, good(issuer, kid="second")).status == 200
    again = jwt.encode({**claimed(good(issuer).encode())[1], "jti": "1"}, issuer.keys["first"][1], "RS256")  # type: ignore[index]
    assert ask(served, again).status == 401


def test_what_is_looked_at_has_an_end() -> None:
    assert len(cut(b"ey" + b"x" * 99_999)) == 8_192
    assert len(cut(b"msk_" + b"x" * 99_999)) == 200
    assert caller_of({}, OidcIssuer(name="x", issuer="https://x", audience=("m",)), 0, str) is None
