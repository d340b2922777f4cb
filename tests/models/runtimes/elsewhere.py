"""A server of models that is not Mainstay: plain JSON, MLflow's protocol, and the ways in which servers fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from mainstay.core.nouns import Field, Signature

SIGNATURE = Signature(
    inputs=(
        Field(name="tenure", type="integer", required=True),
        Field(name="charges", type="number"),
        Field(name="contract", type="string"),
    ),
    outputs=(Field(name="churn", type="number"),),
)
ROWS = ((12, 50.0, "Two year"), (60, None, "One year"), (1, 100.0, "Month-to-month"))
INPUTS = ["tenure", "charges", "contract"]


def churn(row: Mapping[str, Any]) -> float:
    return (row["tenure"] or 0) / 100 + (row["charges"] or 0.0) / 1000


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    body: Any


class Elsewhere(ThreadingHTTPServer):
    """`moods`: what the next requests meet, one each; after that it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.moods: list[str] = []
        self.asked: list[Asked] = []
        self.connections = 0
        self.slow_seconds = 0.0
        """How long each answer takes."""
        self.now = 0
        self.most_at_once = 0
        self.counting = threading.Lock()
        self.waits = threading.Event()
        self.let_go = threading.Event()
        self.closed = threading.Event()
        """Whether a connection was closed from this side."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Elsewhere

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        lower = {name.lower(): value for name, value in self.headers.items()}
        with self.server.counting:
            self.server.asked.append(Asked(self.path, lower, body))
            self.server.now += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.now)
        time.sleep(self.server.slow_seconds)
        with self.server.counting:
            self.server.now -= 1
        mood = self.server.moods.pop(0) if self.server.moods else "fine"
        with suppress(BrokenPipeError, ConnectionResetError):
            self._meet(mood, body)

    def _meet(self, mood: str, body: Any) -> None:
        if mood == "wait":
            self.server.waits.set()
            self.server.let_go.wait(60)
        if mood == "cut":
            self.close_connection = True
        elif mood == "half":
            self._send(200, b'{"churn": 0.5}', length=500)
            self.close_connection = True
        elif mood == "last":  # answers as ever, and closes without a word
            self._send(200, json.dumps(self._answer(body)).encode())
            self.close_connection = True
        elif mood == "drip":
            self._drip()
        elif mood == "redirect":
            self._send(302, b"", Location=self.server.url("/elsewhere"))
        elif mood == "gzip":
            self._send(200, b"x", Content_Encoding="gzip")
        elif mood == "endless":
            self._endless()
        elif mood.isdecimal():
            self._send(int(mood), b'{"detail": "customer 4711 is not known"}')
        elif mood.startswith("="):
            self._send(200, mood[1:].encode())
        else:
            self._send(200, json.dumps(self._answer(body)).encode())

    def _answer(self, body: Any) -> Any:
        if self.path == "/invocations":
            split = body["dataframe_split"]
            return {"predictions": [churn(dict(zip(split["columns"], row, strict=True))) for row in split["data"]]}
        if self.path == "/rows":
            return {"results": [{"score": {"value": churn(one)}} for one in body["customers"]]}
        return {"churn": churn(body)}

    def _send(self, status: int, body: bytes, *, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        """A byte at a time, each well within any pause between two, and never the end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not self.server.let_go.is_set():
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.02)

    def _endless(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self.server.let_go.is_set():
            self.wfile.write(b"400\r\n" + b" " * 1024 + b"\r\n")
