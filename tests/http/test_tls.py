"""TLS on the listeners, and callers who are known by the certificate of their connection."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

import grpc
from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.nouns import Settings
from mainstay.core.nouns_callers import CallersConfig, CertificateCaller
from mainstay.core.rate import Rate
from mainstay.grpc.door import OIP, OPEN
from mainstay.grpc.messages import kind
from tests.grpc.test_door import CALLS, code
from tests.http.certificates import CA, OTHER_CA, Files, client, signed
from tests.http.serving import Caller, Served, serving
from tests.serving.toy import Toy

CRM = CertificateCaller(name="crm", san="DNS:CRM.example.com", role="operate")
INFER = f"/{OIP}/ModelInfer"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path, files: Files) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def begin(clients: Any = None, *certificates: CertificateCaller, grpc: str = "") -> Served:
            settings = Settings(tls=files.tls(clients))
            toy = Toy(tmp_path, settings=settings, callers=CallersConfig(certificates=certificates))
            stack.callback(toy.journal.close)
            return stack.enter_context(serving(toy, grpc=grpc))

        yield begin


def status(caller: Caller, method: str = "POST", path: str = "/v1/churn/predict", body: object = None) -> int:
    try:
        return caller.ask(method, path, {"key": "A"} if body is None and method == "POST" else body).status
    finally:
        caller.close()


def test_the_api_speaks_tls_and_nothing_else(start: Start, files: Files) -> None:
    served = start()
    token = served.toy.key()
    assert status(served.caller(token, client())) == 200
    assert status(served.caller(None, client())) == 401
    assert status(served.caller(None, client()), "GET", "/health/ready") == 200
    with pytest.raises((http.client.HTTPException, OSError)):
        status(served.caller(token))
    with pytest.raises(ssl.SSLCertVerificationError):
        status(served.caller(token, client(trust=False)))
    old = client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert status(served.caller(token, old)) == 200


def test_nobody_connects_without_a_certificate_where_one_is_required(start: Start) -> None:
    served = start("required", CRM)
    token = served.toy.key()
    for context in (client(), client("crm.example.com", ca=OTHER_CA)):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            status(served.caller(token, context), "GET", "/health/live")
    assert status(served.caller(None, client("crm.example.com"))) == 200


def test_a_certificate_is_a_caller(start: Start) -> None:
    served = start("optional", CRM)
    crm = served.caller(None, client("crm.example.com"))
    said = crm.predict(key="A")
    assert (said.status, served.toy.receipt(said.json["receipt"]).caller) == (200, "cert-crm")
    assert crm.ask("GET", f"/v1/receipts/{said.json['receipt']}").status == 200  # the long road knows it too
    assert crm.ask("GET", "/metrics").status == 200
    assert crm.predict(key="A").status == 200
    crm.close()


def test_what_a_request_carries_counts_before_its_connection(start: Start) -> None:
    served = start("optional", CRM)
    named, other = client("crm.example.com"), client("somebody.example.com")
    assert status(served.caller("msk_x_y", named)) == 401
    assert status(served.caller(None, other)) == 401
    for context, detail in ((other, "the certificate of this connection is nobody's"), (client(), "no API key came")):
        nobody = served.caller(None, context)
        assert nobody.predict(key="A").json["detail"].startswith(detail)
        nobody.close()
    assert status(served.caller(served.toy.key(), other)) == 200
    assert status(served.caller(served.toy.key(), client())) == 200
    assert status(served.caller(served.toy.key(), named), "GET", "/metrics") == 403


def test_a_caller_can_be_named_by_its_subject(start: Start) -> None:
    served = start("required", CertificateCaller(name="billing", subject=" o=Acme, commonName=b\\+b \\C3\\B6, OU=IT"))
    assert status(served.caller(None, client("x.example.com", common_name="b+b ö"))) == 200
    for other in ("b+b", "B+b ö", None):
        assert status(served.caller(None, client("x.example.com", common_name=other))) == 401


def test_a_certificate_has_its_own_rate(start: Start) -> None:
    served = start("optional", CertificateCaller(name="crm", san="DNS:crm.example.com", rate=Rate(1, MINUTE)))
    context = client("crm.example.com")
    assert status(served.caller(None, context), "GET", "/metrics") == 403
    assert status(served.caller(None, context)) == 429


def test_a_file_that_no_longer_names_it_is_heeded_at_once(start: Start) -> None:
    served = start("optional", CRM)
    crm = served.caller(None, client("crm.example.com"))
    assert crm.predict(key="A").status == 200
    served.toy.file = msgspec.structs.replace(served.toy.file, callers=CallersConfig())
    served.toy.reapply()
    assert crm.predict(key="A").status == 401
    crm.close()


def test_a_connection_that_outlives_its_certificate_is_nobodys(start: Start) -> None:
    served = start("optional", CRM)
    until = datetime.fromtimestamp(served.toy.clock.now_us() // SECOND + 30, UTC)
    crm = served.caller(None, client("crm.example.com", until=until))
    assert crm.predict(key="A").status == 200
    served.toy.clock.advance(31 * SECOND)
    assert crm.predict(key="A").status == 401
    crm.close()


def served_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_renewed_certificate_is_taken_without_a_restart(start: Start, files: Files, capfd: Any) -> None:
    served = start()
    token = served.toy.key()
    old = served.caller(token, client())
    assert old.predict(key="A").status == 200
    pem = files.renew().decode()
    until(lambda: served_certificate(served.port).strip() == pem.strip())
    assert old.predict(key="A").status == 200
    assert status(served.caller(token, client())) == 200
    files.key.write_bytes(signed("127.0.0.1").private_key_pem.bytes())
    until(lambda: "it is not the key of" in capfd.readouterr().err)
    assert served_certificate(served.port).strip() == pem.strip()
    assert old.predict(key="A").status == 200
    assert not served.toy.desk.draining
    old.close()


def test_a_worker_leaves_for_what_a_running_one_cannot_change(start: Start, files: Files) -> None:
    served = start("optional")
    OTHER_CA.cert_pem.write_to_path(files.client_ca)
    until(lambda: served.toy.desk.draining)


def test_a_worker_leaves_when_the_file_says_otherwise(start: Start, files: Files) -> None:
    served = start()
    served.toy.settings(tls=None)
    until(lambda: served.toy.desk.draining)


# --- gRPC -----------------------------------------------------------------------------------------------------------


def infer(served: Served, *, token: str | None = None, leaf: trustme.LeafCert | None = None) -> str:
    """The status of a call, and by whom its receipt says that it was made."""
    request = kind("ModelInferRequest")(model_name="churn")
    request.inputs.add(name="customer_id", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"A")
    pair = (None, None) if leaf is None else (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_channel_credentials(CA.cert_pem.bytes(), *pair)
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.secure_channel(f"127.0.0.1:{served.grpc_port}", credentials) as channel:
        try:
            raw = channel.unary_unary(INFER)(request.SerializeToString(), metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            told: Any = error
            return str(told.code().name)
    return served.toy.receipt(kind("ModelInferResponse").FromString(raw).parameters["receipt"].string_param).caller


def test_grpc_speaks_tls(start: Start, files: Files) -> None:
    served = start(grpc="127.0.0.1:0")
    token = served.toy.key()
    assert infer(served, token=token) in {one.id for one in served.toy.view.keys.now.values()}
    assert infer(served) == "UNAUTHENTICATED"
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(INFER)(b"", timeout=5)
    pem = files.renew().decode()
    until(lambda: served_certificate(served.grpc_port).strip() == pem.strip())
    assert infer(served, token=token) != "UNAUTHENTICATED"


def test_grpc_knows_callers_by_their_certificate(start: Start) -> None:
    billing = CertificateCaller(name="billing", subject="CN=b+b ö,O=Acme,OU=IT".replace("+", "\\+"))
    served = start("required", CRM, billing, grpc="127.0.0.1:0")
    assert infer(served, leaf=signed("crm.example.com")) == "cert-crm"
    assert infer(served, leaf=signed("x.example.com", common_name="b+b ö")) == "cert-billing"
    assert infer(served, leaf=signed("y.example.com")) == "UNAUTHENTICATED"
    assert infer(served, leaf=signed("crm.example.com", ca=OTHER_CA)) == "UNAVAILABLE"
    assert infer(served) == "UNAVAILABLE"
    assert infer(served, leaf=signed("crm.example.com"), token="msk_x_y") == "UNAUTHENTICATED"
    assert infer(served, leaf=signed("y.example.com"), token=served.toy.key()).isalnum()


def test_no_call_but_health_is_open_to_a_certificate_that_is_nobodys(start: Start) -> None:
    served = start("required", CRM, grpc="127.0.0.1:0")
    for leaf, refused in ((signed("y.example.com"), "UNAUTHENTICATED"), (signed("crm.example.com"), "")):
        credentials = grpc.ssl_channel_credentials(
            CA.cert_pem.bytes(), leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes()
        )
        with grpc.secure_channel(f"127.0.0.1:{served.grpc_port}", credentials) as channel:
            for path in CALLS:
                said = code(channel, path)
                assert said == "OK" if path in OPEN else (said == refused) is bool(refused), (path, said)
            garbage = code(channel, INFER, b"\xff" * 100)
            assert garbage == (refused or "INTERNAL")
