"""A worker whose model is served elsewhere: nobody else waits for it, and metrics say how it fares."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from mainstay.core.clock import MINUTE, SECOND
from mainstay.models.runtimes.http import AT_ONCE, HttpRuntime
from tests.http.serving import Served, serving
from tests.models.runtimes.elsewhere import INPUTS, Elsewhere, elsewhere
from tests.serving.toy import SIGNATURE, Toy


@pytest.fixture
def server() -> Iterator[Elsewhere]:
    with elsewhere() as made:
        yield made


@pytest.fixture
def served(tmp_path: Path, server: Elsewhere) -> Iterator[Served]:
    toy = Toy(tmp_path)
    options = {"url": server.url("/score"), "protocol": "json", "inputs": INPUTS, "failures": 2}
    toy.models[1] = HttpRuntime(toy.clock).load(None, SIGNATURE, options)  # type: ignore[assignment]
    toy.view.close()
    timed(toy, MINUTE)
    with serving(toy) as made:
        yield made
    toy.journal.close()


def timed(toy: Toy, timeout_us: int) -> None:
    model = msgspec.structs.replace(toy.file.model, timeout_us=timeout_us)
    toy.file = msgspec.structs.replace(toy.file, model=model)
    toy.reapply()


def test_others_are_answered_while_it_keeps_somebody_waiting(served: Served, server: Elsewhere) -> None:
    server.moods = ["wait"]
    token = served.toy.key("operate")
    first, second = served.caller(token), served.caller(token)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(first.predict, key="A")
        assert server.waits.wait(10)
        assert second.predict(key="A").json["output"] == {"churn": pytest.approx(0.17)}
        assert second.ask("GET", "/health/live").status == 200
        assert not waiting.done()
        server.let_go.set()
        assert waiting.result(10).json["output"] == {"churn": pytest.approx(0.17)}
    first.close()
    second.close()


def test_metrics_tell_what_became_of_requests_and_that_it_is_left_alone(served: Served, server: Elsewhere) -> None:
    caller = served.caller(served.toy.key("operate"))
    server.moods = ["fine", "500", "500"]
    degraded = [caller.predict(key="A").json["degraded"] for _ in range(4)]
    assert degraded == [False, True, True, True]
    served.toy.desk.save()
    told = caller.ask("GET", "/metrics").body.decode()
    caller.close()
    for end, count in (("answered", 1), ("failed", 2), ("not_asked", 1)):
        assert f'mainstay_model_requests_total{{end="{end}"}} {count}.0' in told
    assert "mainstay_model_left_alone 1.0" in told


def test_each_row_has_its_own_request_and_time_where_the_server_takes_one(served: Served, server: Elsewhere) -> None:
    timed(served.toy, SECOND)
    server.slow_seconds = 0.05
    caller = served.caller(served.toy.key("predict"))
    rows = [{"tenure": place} for place in range(60)]
    items = caller.predict(rows=rows).json["results"]
    assert [item["degraded"] for item in items] == [False] * 60, "one after the other they take three seconds"
    assert [item["output"]["churn"] for item in items] == [pytest.approx(place / 100) for place in range(60)]
    assert sorted(asked.body["tenure"] for asked in server.asked) == list(range(60))
    assert server.most_at_once <= AT_ONCE
    caller.close()


def test_a_row_that_the_server_refuses_fails_alone_and_no_row_is_asked_twice(served: Served, server: Elsewhere) -> None:
    server.moods = ["422"]
    caller = served.caller(served.toy.key("predict"))
    items = caller.predict(rows=[{"tenure": place} for place in range(20)]).json["results"]
    assert sorted(item["degraded"] for item in items) == [False] * 19 + [True]
    assert sorted(asked.body["tenure"] for asked in server.asked) == list(range(20))
    caller.close()


def test_the_callers_deadline_ends_what_is_left_of_many_rows(served: Served, server: Elsewhere) -> None:
    caller = served.caller(served.toy.key("predict"))
    server.moods = ["wait"] * 40
    rows = [{"tenure": place} for place in range(40)]
    said = caller.ask("POST", "/v1/churn/predict", {"rows": rows}, X_Request_Timeout_Ms="500")
    assert said.status == 504
    server.let_go.set()
    assert caller.predict(key="A").json["degraded"] is False
    assert len(server.asked) <= AT_ONCE + 1, "those whose turn had not come are not asked for any more"
    caller.close()
