"""How the demo asks, counts and tells; the story itself is told in tests/road."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from mainstay.app.demo.ask import Said, ask
from mainstay.app.demo.screen import Screen
from mainstay.app.demo.traffic import Tally
from mainstay.testing.ports import free_port

REFUSAL: dict[str, object] = {"sentence": "data 21 s old, promise 15 s", "receipt": "r-2", "reason": "on_stale"}


class Api(BaseHTTPRequestHandler):
    """Answers the number that the path asks for, and echoes what was posted."""

    def do_GET(self) -> None:
        status = int(self.path.strip("/"))
        self._send(status, REFUSAL if status >= 400 else {"churn_probability": 0.31})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(
            200, {"output": {"churn_probability": 0.5}, "receipt": body["key"], "verdict": "PASS", "age_seconds": 1}
        )

    def _send(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_apis_are_told_in_one_line(url: str) -> None:
    assert ask(f"{url}/200").line == "0.31, HTTP 200"
    assert ask(f"{url}/503").line == "refused: data 21 s old, promise 15 s (HTTP 503)"
    assert ask(f"{url}/x", {"key": "C-1"}).line == "0.50, HTTP 200, data 1.0 s old, PASS"
    assert ask(f"{url}/x", {"key": "C-1"}).receipt == "C-1"


def test_nobody_there_is_an_answer_too() -> None:
    said = ask(f"http://127.0.0.1:{free_port()}/")
    assert said.status == 0
    assert said.line == "no answer: connection refused"


def test_a_warning_is_told_with_its_sentence() -> None:
    body = {"output": {"churn_probability": 0.3}, "age_seconds": 8.2, "verdict": "WARN", "sentence": "older than 6 s"}
    assert Said(200, body).line == "0.30, HTTP 200, data 8.2 s old, WARN: older than 6 s"


def test_a_tally_counts_what_came_back_without_a_receipt() -> None:
    answers = (
        Said(200, {"receipt": "a", "model_version": 1}),
        Said(0, problem="connection reset"),
        Said(503, {"receipt": "b"}),
        Said(200, {"receipt": "c", "model_version": 2}),
        Said(200, {"receipt": "d", "model_version": 1}),
    )
    tally = Tally(answers)
    assert tally.receipts == ("a", "b", "c", "d")
    assert tally.failed == (answers[1],)
    assert tally.versions == (1, 2)
    assert tally.statuses == {0: 1, 200: 3, 503: 1}


def test_the_screen_counts_claims_and_shows_both_sides() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=120), patient=False)
    screen.title(1, "A blow", "Something breaks.")
    screen.pair("before", Said(200, {"churn_probability": 0.31}), Said(503, REFUSAL))
    screen.expect(kept=True, sentence="this came true")
    screen.expect(kept=0, sentence="this did not [bold]")
    screen.command("mainstay status", "[red]not markup[/red]")
    screen.pause()
    screen.close()
    told = out.getvalue()
    assert "glue" in told
    assert "refused: data 21 s old, promise 15 s" in told
    assert "1 of 2 claims came true" in told
    assert "✗ this did not [bold]" in told
    assert "[red]not markup[/red]" in told
    assert (screen.kept, screen.broken) == (["this came true"], ["this did not [bold]"])
