"""A worker's own server in a thread, on a real socket, over the toy desk."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from mainstay.app.supervisor import listen
from mainstay.app.worker import Worker
from mainstay.http.serve import WorkerServer
from tests.serving.toy import Toy


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value


class Caller:
    """One keep-alive connection."""

    def __init__(self, port: int, token: str | None, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.token = token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        if tls is not None:
            self._connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Said:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            named.setdefault("Authorization", f"Bearer {self.token}")
        self._connection.request(method, path, data, named)
        response = self._connection.getresponse()
        lower = {name.lower(): value for name, value in response.getheaders()}
        return Said(response.status, lower, response.read())

    def predict(self, **body: Any) -> Said:
        return self.ask("POST", "/v1/churn/predict", body)

    def close(self) -> None:
        self._connection.close()


class Served(NamedTuple):
    toy: Toy
    server: WorkerServer
    port: int

    @property
    def grpc_port(self) -> int:
        return self.server.grpc_port

    def caller(self, token: str | None = None, tls: ssl.SSLContext | None = None) -> Caller:
        return Caller(self.port, token, tls)

    def raw(self, data: bytes) -> bytes:
        """Sends bytes as they are and reads until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(data)
            connection.settimeout(0.5)
            found = b""
            with contextlib.suppress(TimeoutError):
                while part := connection.recv(65536):
                    found += part
            return found


@contextlib.contextmanager
def serving(toy: Toy, most: int = 256, *, grpc: str = "") -> Iterator[Served]:
    listening = listen("127.0.0.1", 0)
    worker = Worker(toy.desk, lambda: None, "process")
    server = WorkerServer(worker, most, grpc=grpc)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        yield Served(toy, server, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()
