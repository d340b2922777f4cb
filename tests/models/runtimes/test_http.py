"""Models served elsewhere: the protocols, the addresses that are refused, and how failures are kept small."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import SECOND, SystemClock
from mainstay.core.errors import ModelAway, ModelError, ModelRefused, ModelTimeout
from mainstay.core.nouns import Field, Signature
from mainstay.models.runtimes.http import HttpModel, HttpOptions, HttpRuntime
from mainstay.models.runtimes.http_address import permitted, target_of
from mainstay.models.runtimes.http_breaker import Breaker, Budget
from mainstay.spec.shape_http import HttpPart
from mainstay.testing.clock import FakeClock
from mainstay.testing.runtime_suite import RUNTIME_SUITE, RuntimeCase
from tests.http.serving import serving
from tests.models.runtimes.elsewhere import INPUTS, ROWS, SIGNATURE, Elsewhere, elsewhere
from tests.serving.toy import Toy

ANSWER = [(12 / 100 + 50.0 / 1000,)]
REFUSED = ((None, 1.0, "One year"), ("some months", 1.0, "One year"), (12, "many", "One year"), (12, 1.0, 7))


@pytest.fixture
def server() -> Iterator[Elsewhere]:
    with elsewhere() as made:
        yield made


def loaded(url: str, *, runtime: HttpRuntime | None = None, signature: Signature = SIGNATURE, **said: Any) -> HttpModel:
    options = {"url": url, "protocol": "json", "inputs": INPUTS, **said}
    model = (runtime or HttpRuntime()).load(None, signature, options)
    assert isinstance(model, HttpModel)
    return model


@pytest.fixture(params=["oip", "mlflow", "json"])
def case(request: pytest.FixtureRequest, server: Elsewhere, tmp_path: Path) -> Iterator[RuntimeCase]:
    """The Open Inference Protocol is answered by Mainstay itself."""
    if request.param == "oip":
        toy = Toy(tmp_path)
        headers = {"Authorization": f"Bearer {toy.key('predict')}"}
        with serving(toy) as served:
            url = f"http://127.0.0.1:{served.port}"
            yield _case(lambda: loaded(url, protocol="oip", model="churn", headers=headers))
        toy.journal.close()
    elif request.param == "mlflow":
        yield _case(lambda: loaded(server.url(), protocol="mlflow"))
    else:
        said: dict[str, Any] = {
            "request": {"customers": "$rows"},
            "answers": "results",
            "outputs": {"churn": "score.value"},
        }
        yield _case(lambda: loaded(server.url("/rows"), **said))


def _case(load: Callable[[], HttpModel]) -> RuntimeCase:
    return RuntimeCase(load=load, signature=SIGNATURE, rows=ROWS, refused=REFUSED)


@pytest.mark.parametrize("check", RUNTIME_SUITE, ids=lambda check: check.__name__)
def test_every_protocol_passes_the_suite(check: Callable[[RuntimeCase], None], case: RuntimeCase) -> None:
    check(case)


def test_what_is_sent_is_what_the_file_says_and_the_secret_goes_in_a_header(server: Elsewhere) -> None:
    secrets = {"Bearer ${TOKEN}": "Bearer s3cret", "": ""}
    said: dict[str, Any] = {
        "request": {"months": "$tenure", "price": "$$5", "deep": [{"kind": "$contract"}, 1, None]},
        "headers": {"Authorization": "Bearer ${TOKEN}"},
        "secrets": secrets.__getitem__,
    }
    server.moods = ['={"churn": 1}']
    with closing(loaded(server.url("/score?v=2"), **said)) as model:
        assert model.predict([ROWS[0]]) == [(1.0,)]
    (asked,) = server.asked
    assert asked.path == "/score?v=2"
    assert asked.body == {"months": 12, "price": "$5", "deep": [{"kind": "Two year"}, 1, None]}
    assert asked.headers["authorization"] == "Bearer s3cret"
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"


def test_without_its_secrets_nothing_is_asked(server: Elsewhere) -> None:
    model = loaded(server.url(), headers={"Authorization": "Bearer ${TOKEN}"})
    with closing(model), pytest.raises(ModelAway, match="secrets"):
        model.predict([ROWS[0]])
    assert not server.asked


def test_tensors_are_found_by_name_and_column_and_go_out_as_one_where_wanted(server: Elsewhere) -> None:
    tensors = [
        {"name": "probabilities", "shape": [2, 2], "datatype": "FP32", "data": [[0.9, 0.1], [0.25, 0.75]]},
        {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["no", "yes"]},
    ]
    server.moods = ["=" + json.dumps({"outputs": tensors})]
    numbers = (Field(name="tenure", type="integer"), Field(name="charges", type="number"))
    outputs = (Field(name="churn", type="number"), Field(name="label", type="string"))
    said: dict[str, Any] = {
        "model": "a b",
        "version": "3",
        "tensor": "input-0",
        "datatype": "FP32",
        "outputs": {"churn": "probabilities.1"},
    }
    signature = Signature(inputs=numbers, outputs=outputs)
    with closing(loaded(server.url("/base/"), protocol="oip", signature=signature, **said)) as model:
        assert model.predict([(1, 2.5), (3, None)]) == [(0.1, "no"), (0.75, "yes")]
    (asked,) = server.asked
    assert asked.path == "/base/v2/models/a%20b/versions/3/infer"
    assert asked.body == {
        "inputs": [{"name": "input-0", "shape": [2, 2], "datatype": "FP32", "data": [1, 2.5, 3, None]}]
    }


@pytest.mark.parametrize("number", [1e30, 2**63, -(2**63) - 1, 0.5, True])
def test_an_integer_that_no_receipt_can_hold_is_no_answer(server: Elsewhere, number: float) -> None:
    server.moods = ["=" + json.dumps({"outputs": [{"name": "n", "data": [number]}]})]
    signature = Signature(inputs=SIGNATURE.inputs, outputs=(Field(name="n", type="integer"),))
    model = loaded(server.url(), protocol="oip", model="m", signature=signature)
    with closing(model), pytest.raises(ModelAway, match="`n` is no integer"):
        model.predict([ROWS[0]])


def test_a_boolean_in_a_tensor_of_numbers_is_one(server: Elsewhere) -> None:
    server.moods = ["=" + json.dumps({"outputs": [{"name": [], "data": 1}, {"name": "n", "data": [7.0]}]})]
    inputs = (Field(name="vip", type="boolean"), Field(name="charges", type="number"))
    signature = Signature(inputs=inputs, outputs=(Field(name="n", type="integer"),))
    with closing(loaded(server.url(), protocol="oip", model="m", tensor="x", signature=signature)) as model:
        assert model.predict([(True, 2.5)]) == [(7,)]
    assert json.dumps(server.asked[0].body["inputs"][0]["data"]) == "[1, 2.5]"


def test_a_name_that_nobody_can_write_is_away() -> None:
    model = loaded("https://scores..example.com/")
    with closing(model), pytest.raises(ModelAway):
        model.predict([ROWS[0]])


@pytest.mark.parametrize(
    ("mood", "error", "told"),
    [
        ("500", ModelAway, "status 500"),
        ("401", ModelAway, "status 401"),
        ("400", ModelRefused, "refuses this input"),
        ("redirect", ModelAway, "a redirect, which is not followed"),
        ("gzip", ModelAway, "compressed"),
        ("endless", ModelAway, "more than 2,000 bytes"),
        ("=" + " " * 3000, ModelAway, "more than 2,000 bytes"),
        ("=<html>4711</html>", ModelAway, "no JSON"),
        ('={"churn": "4711"}', ModelAway, "`churn` is no number"),
        ('={"score": 4711}', ModelAway, "no `churn`"),
        ("=" + "[" * 1500, ModelAway, "no JSON"),
        ("drip", ModelTimeout, "in time"),
    ],
)
def test_a_failure_is_one_of_ours_and_repeats_nothing(
    server: Elsewhere, mood: str, error: type[ModelError], told: str
) -> None:
    server.moods = [mood]
    headers = {"X-Api-Key": "s3cret"}
    with closing(loaded(server.url("/score"), response_limit=2_000, headers=headers)) as model:
        with pytest.raises(error, match=told) as raised:
            model.predict([(4711, 50.0, "Two year")], deadline_us=SystemClock().monotonic_us() + SECOND // 2)
        assert "4711" not in str(raised.value)
        assert "s3cret" not in str(raised.value)
        assert model.predict([ROWS[0]]) == ANSWER, "one failure leaves it usable"
    assert [asked.path for asked in server.asked] == ["/score"] * 2


@pytest.mark.parametrize("mood", ["cut", "half", "503"])
def test_what_may_pass_is_tried_once_more(server: Elsewhere, mood: str) -> None:
    server.moods = [mood]
    with closing(loaded(server.url())) as model:
        assert model.predict([ROWS[0]]) == ANSWER
        assert model.outgoing() == ("closed", {"retried": 1, "answered": 1})
        assert model.outgoing() == ("closed", {})


def test_connections_are_kept_and_one_that_the_server_closed_costs_no_retry(server: Elsewhere) -> None:
    with closing(loaded(server.url())) as model:
        for _ in range(5):
            model.predict([ROWS[0]])
        assert server.connections == 1
        server.moods = ["last"]
        model.predict([ROWS[0]])
        server.closed.wait(10)
        model.predict([ROWS[0]])
        assert server.connections == 2
        assert model.outgoing() == ("closed", {"answered": 7})


def test_an_answer_cut_short_ends_its_connection(server: Elsewhere) -> None:
    with closing(loaded(server.url())) as model:
        model.predict([ROWS[0]])
        server.moods = ["half"]
        model.predict([ROWS[0]])
        assert server.connections == 2


def test_retries_are_few_of_many_requests(server: Elsewhere) -> None:
    server.moods = ["503"] * 1000
    with closing(loaded(server.url(), failures=10_000)) as model:
        for _ in range(50):
            with pytest.raises(ModelAway):
                model.predict([ROWS[0]])
    assert len(server.asked) <= 50 + 1 + 50 // 5


@given(share=st.floats(0.0, 1.0), tries=st.lists(st.booleans(), max_size=200))
def test_a_budget_never_gives_more_than_its_share(share: float, tries: list[bool]) -> None:
    budget, paid, taken = Budget(share), 0, 0
    for retry in tries:
        if retry:
            taken += budget.take()
        else:
            budget.pay_in()
            paid += 1
        assert taken <= (1 + share * paid + 1e-9 if share else 0)


def test_a_server_that_keeps_failing_is_left_alone_and_asked_by_one_to_see(server: Elsewhere) -> None:
    clock = FakeClock()
    server.moods = ["500"] * 4
    with closing(loaded(server.url(), runtime=HttpRuntime(clock), failures=3, pause=5 * SECOND)) as model:
        for _ in range(3):
            with pytest.raises(ModelAway, match="status 500"):
                model.predict([ROWS[0]])
        for _ in range(3):
            with pytest.raises(ModelAway, match="left alone"):
                model.predict([ROWS[0]])
        assert len(server.asked) == 3
        assert model.outgoing() == ("open", {"failed": 3, "not_asked": 3})
        clock.advance(5 * SECOND)
        assert model.outgoing()[0] == "half_open"
        with pytest.raises(ModelAway, match="status 500"):
            model.predict([ROWS[0]])
        clock.advance(9 * SECOND)
        with pytest.raises(ModelAway, match="left alone"):
            model.predict([ROWS[0]])
        clock.advance(SECOND)
        assert model.predict([ROWS[0]]) == ANSWER
        assert model.outgoing() == ("closed", {"failed": 1, "not_asked": 1, "answered": 1})


def test_a_row_that_is_refused_says_nothing_against_the_server(server: Elsewhere) -> None:
    server.moods = ["422"] * 10
    with closing(loaded(server.url(), failures=3)) as model:
        for _ in range(10):
            with pytest.raises(ModelRefused):
                model.predict([ROWS[0]])
        assert model.outgoing() == ("closed", {"refused": 10})


def test_only_one_request_goes_out_to_see() -> None:
    clock = FakeClock()
    breaker = Breaker(1, SECOND, clock)
    assert breaker.let_through() == "free"
    breaker.failed()
    assert breaker.let_through() == "shut"
    clock.advance(SECOND)
    assert [breaker.let_through(), breaker.let_through()] == ["probe", "shut"]
    breaker.undecided()
    assert breaker.let_through() == "probe"
    breaker.answered()
    assert [breaker.let_through(), breaker.condition] == ["free", "closed"]


ADDRESSES = [
    # address, network -> allowed
    ("93.184.215.14", "public", True),
    ("10.1.2.3", "private", True),
    ("10.1.2.3", "public", False),
    ("fd12:3456::1", "private", True),
    ("100.64.0.9", "public", False),
    ("127.0.0.1", "private", False),
    ("127.0.0.1", "loopback", True),
    ("::1", "private", False),
    ("::ffff:127.0.0.1", "private", False),
    ("169.254.169.254", "loopback", False),
    ("169.254.0.1", "loopback", False),
    ("::ffff:169.254.169.254", "loopback", False),
    ("64:ff9b::a9fe:a9fe", "loopback", False),
    ("2002:a9fe:a9fe::1", "loopback", False),
    ("fe80::1%eth0", "loopback", False),
    ("fd00:ec2::254", "loopback", False),
    ("100.100.100.200", "loopback", False),
    ("0.0.0.0", "loopback", False),
    ("::", "loopback", False),
    ("224.0.0.1", "loopback", False),
    ("255.255.255.255", "loopback", False),
]


@pytest.mark.parametrize(("address", "network", "allowed"), ADDRESSES)
def test_an_address_is_looked_at_after_its_name_is_resolved(address: str, network: Any, *, allowed: bool) -> None:
    target = target_of("http://scores.example.com/v2")
    if allowed:
        assert permitted(target, network, lambda *_: [address]) == [address]
        assert permitted(target, network, lambda *_: ["169.254.169.254", address]) == [address]
        return
    with pytest.raises(ModelRefused, match=r"scores\.example\.com is not asked") as raised:
        permitted(target, network, lambda *_: [address])
    assert address not in str(raised.value)


def test_this_machine_is_asked_where_the_file_itself_says_so() -> None:
    for url in ("http://localhost:9000", "http://127.0.0.1:9000", "http://[::1]:9000"):
        assert permitted(target_of(url), "public", lambda *_: ["127.0.0.1"]) == ["127.0.0.1"]


def test_a_name_that_leads_to_forbidden_places_is_not_connected_to(server: Elsewhere) -> None:
    runtime = HttpRuntime(resolve=lambda *_: ["127.0.0.1"])
    model = loaded(f"http://scores.example.com:{server.port}", runtime=runtime)
    with closing(model), pytest.raises(ModelAway, match="this machine"):
        model.predict([ROWS[0]])
    assert not server.connections
    with closing(loaded(f"http://scores.example.com:{server.port}", runtime=runtime, network="loopback")) as model:
        assert model.predict([ROWS[0]]) == ANSWER
    assert server.asked[0].headers["host"] == f"scores.example.com:{server.port}"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b",
        "http://",
        "http://user:pw@a/",
        "http://a/#b",
        "http://a b/",
        "http://a:99999/",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(ModelRefused) as raised:
        target_of(url)
    assert "pw" not in raised.value.sentence


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"request": {"a": "$charge"}}, r"\$charge in the template"),
        ({"request": {"a": "$tenure"}, "answers": "results"}, r"put `\$rows`"),
        ({"outputs": {"chrun": "a"}}, "chrun"),
        ({"protocol": "oip"}, "`http.model` is missing"),
        ({"protocol": "oip", "model": "m", "tensor": "x"}, "contract is of type string"),
        ({"protocol": "soap"}, "oip, mlflow or json"),
        ({"timeout": 3}, "timeout"),
    ],
)
def test_options_that_cannot_work_are_refused_when_it_is_loaded(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelRefused, match=told):
        loaded("http://scores.example.com", **said)


def test_what_the_file_leaves_out_is_what_the_runtime_takes() -> None:
    plain = HttpOptions(url="https://a/", protocol="oip")
    part = HttpPart(url="https://a/", protocol="oip", inputs=["tenure"])
    for name in ("datatype", "network", "connect_timeout", "response_limit", "retries", "failures", "pause"):
        assert getattr(plain, name) == getattr(part, name), name
