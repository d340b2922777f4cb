"""Traces by OpenTelemetry, to a collector of our own: real OTLP over HTTP. Off, nothing of it is there."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mainstay.app import tracing
from mainstay.core.clock import SystemClock
from mainstay.core.errors import Refused
from mainstay.core.trace import NoTrace
from mainstay.serving.keys import create_key
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.ports import free_port
from tests.app.shop import RULE, Shop, file_of

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = f"00-{TRACE_ID}-{PARENT_ID}-01"


class Collector:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                data = self.rfile.read(int(self.headers["content-length"]))
                bodies.append(gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def spans(self) -> list[Span]:
        found: list[Span] = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found

    def named(self, name: str) -> Span:
        (found,) = [span for span in self.spans() if span.name == name]
        return found

    def processes(self) -> set[str]:
        found = set()
        for body in list(self.bodies):
            for one in ExportTraceServiceRequest.FromString(body).resource_spans:
                facts = {fact.key: fact.value.string_value for fact in one.resource.attributes}
                assert (facts["service.name"], facts["mainstay.integration"]) == ("mainstay", "churn")
                found.add(facts["mainstay.process"])
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def facts(span: Span) -> dict[str, Any]:
    return {fact.key: getattr(fact.value, fact.value.WhichOneof("value") or "string_value") for fact in span.attributes}


def telling(url: str, **more: str) -> dict[str, str]:
    """The environment of a process that is to tell of its work."""
    own = {tracing.TRACE: "on", "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    return {**os.environ, **own, **more}


def mainstay(shop: Shop, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mainstay", *words, "--file", str(shop.file), "--home", str(shop.home)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_run_tells_of_its_stages_and_continues_the_trace_of_who_started_it(
    tmp_path: Path, collector: Collector
) -> None:
    shop = Shop(tmp_path)
    shop.file.write_text(file_of(model=RULE))
    assert mainstay(shop, "apply", "--yes", env={**os.environ}).returncode == 0
    assert collector.bodies == []
    done = mainstay(shop, "run", env=telling(collector.url, TRACEPARENT=CALLER))
    assert done.returncode == 0, done.stderr
    command, run = collector.named("command run"), collector.named("run")
    assert command.trace_id.hex() == TRACE_ID
    assert command.parent_span_id.hex() == PARENT_ID
    assert run.parent_span_id == command.span_id
    for name in ("read", "land", "gate", "publish"):
        stage = collector.named(name)
        assert stage.parent_span_id == run.span_id
        assert facts(stage)["mainstay.dataset"] == "customers"
    told = facts(run)
    assert (told["mainstay.status"], told["mainstay.rows"]) == ("published", 6)
    assert b"person-" not in b"".join(collector.bodies), "a trace names nobody"


def test_an_answer_tells_of_its_stages_and_continues_its_callers_trace(tmp_path: Path, collector: Collector) -> None:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    port = free_port()
    state = SqliteState(shop.place.home.state)
    token, _ = create_key(state, "test", "operate", clock=SystemClock(), expires_us=None)
    state.close()
    env = telling(collector.url)
    del env[tracing.TRACE]
    command = [sys.executable, "-m", "mainstay", "up", "--trace", "--port", str(port), "--workers", "1"]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--file", str(shop.file), "--home", str(shop.home)], env=env, stdout=log, stderr=log
        )
    try:
        within(lambda: asked(port, token, "person-0003")[0] == 200, tmp_path / "up.log")
        status, answer = asked(port, token, "person-0003", traceparent=CALLER)
        assert status == 200
        within(lambda: bool(of_the_caller(collector)), tmp_path / "up.log")
        within(lambda: "run" in {span.name for span in collector.spans()}, tmp_path / "up.log")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    (request,) = of_the_caller(collector)
    assert (request.name, request.kind) == ("POST /v1/{integration}/predict", Span.SPAN_KIND_SERVER)
    assert request.trace_id.hex() == TRACE_ID
    assert facts(request)["http.response.status_code"] == 200
    stages = {span.name: facts(span) for span in collector.spans() if span.parent_span_id == request.span_id}
    assert sorted(stages) == ["lookup", "model", "receipt"]
    assert stages["receipt"]["mainstay.receipt"] == answer["receipt"]
    assert stages["lookup"]["mainstay.found"]
    assert {"api-1"} < collector.processes(), "the loop tells of its own work"
    assert b"person-" not in b"".join(collector.bodies), "a trace names nobody"
    assert not [span for span in collector.spans() if "health" in span.name]


def of_the_caller(collector: Collector) -> list[Span]:
    return [span for span in collector.spans() if span.parent_span_id.hex() == PARENT_ID]


def asked(port: int, token: str, key: str, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/churn/predict",
        data=json.dumps({"key": key}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except OSError as error:
        return getattr(error, "code", 0), None


def within(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_a_collector_that_is_away_stops_no_work(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.file.write_text(file_of(model=RULE))
    done = mainstay(shop, "apply", "--yes", env=telling(f"http://127.0.0.1:{free_port()}"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_of_it_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import os, sys\n"
        "import mainstay.http.serve, mainstay.app.loop_process, mainstay.app.worker, mainstay.app.commands\n"
        "from mainstay.app.tracing import open_trace\n"
        "open_trace(os.environ, integration='churn', process='loop').close()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    env = {name: value for name, value in os.environ.items() if name != tracing.TRACE}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("said", "wanted"), [("", False), ("off", False), ("0", False), ("On", True), ("1", True)])
def test_the_variable_says_yes_or_no(said: str, wanted: bool) -> None:
    assert tracing.asked({tracing.TRACE: said}) is wanted


def test_a_variable_that_says_neither_is_refused() -> None:
    with pytest.raises(Refused, match="MAINSTAY_TRACE is 'loud'"):
        tracing.asked({tracing.TRACE: "loud"})


def test_without_a_trace_a_block_runs_all_the_same() -> None:
    with NoTrace().span("run", dataset="customers") as span:
        span.note(rows=1)
        span.failed("nothing")
