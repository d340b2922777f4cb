"""Bounded load on a running integration by callers of every kind, which write down what they got and what failed.

A refused connection is no failure: nothing was sent. A request that was sent and has no answer is one, and so is an
answer other than 200.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
from mainstay.grpc.door import OIP
from mainstay.grpc.messages import kind

PAUSE_S = 0.01
"""Between two requests of a caller: the load is bounded, the machine is not worn out."""


class Got(NamedTuple):
    """An answer, as its caller read it."""

    kind: str
    receipt: str
    version: int
    output: float
    at: float
    """By the monotonic clock, when it was read whole."""
    why: str = ""
    """Why it was degraded, where it was."""


class Asking(Protocol):
    """One caller's way to ask: once per call. Raises Refused where nobody listens."""

    def __call__(self) -> Got: ...

    def close(self) -> None: ...


class Refused(Exception):
    """Nobody took the connection, so that nothing was asked."""


class Failed(Exception):
    """An answer that is none."""


class Http:
    """Asks over HTTP. `fresh`: by a new connection each time; else the connection is kept until it is told to close."""

    def __init__(
        self, port: int, token: str, path: str, body: object, *, read: Callable[[Any], Got], fresh: bool
    ) -> None:
        self._port = port
        self._path = path
        self._body = json.dumps(body).encode()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._read = read
        self._fresh = fresh
        self._kept: http.client.HTTPConnection | None = None

    def __call__(self) -> Got:
        connection = self._kept
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                connection.connect()
            except ConnectionRefusedError as error:
                raise Refused from error
        self._kept = None
        try:
            connection.request("POST", self._path, self._body, self._headers)
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            connection.close()
            raise
        if self._fresh or response.will_close:
            connection.close()
        else:
            self._kept = connection
        if response.status != 200:
            raise Failed(f"{response.status} {text.decode()[:300]}")
        return self._read(json.loads(text))

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()


class Grpc:
    """Asks over gRPC, by one channel for all its calls."""

    def __init__(self, port: int, token: str, key: str) -> None:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100))
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self._infer = self._channel.unary_unary(f"/{OIP}/ModelInfer")
        self._metadata = (("authorization", f"Bearer {token}"),)
        request = kind("ModelInferRequest")(model_name="churn")
        request.inputs.add(name="key", datatype="BYTES", shape=[1]).contents.bytes_contents.append(key.encode())
        self._request = request.SerializeToString()

    def __call__(self) -> Got:
        try:
            found = kind("ModelInferResponse").FromString(
                self._infer(self._request, metadata=self._metadata, timeout=30)
            )
        except grpc.RpcError as error:
            told = f"{error.code()} {error.details()}"
            if "onnection refused" in told:
                raise Refused from error
            raise Failed(told) from error
        (output,) = struct.unpack("<d", found.raw_output_contents[0])
        receipt = found.parameters["receipt"].string_param
        return Got("grpc", receipt, int(found.model_version), output, time.monotonic())

    def close(self) -> None:
        self._channel.close()


def by_key(found: Any) -> Got:
    (output,) = found["output"].values()
    return Got("key", found["receipt"], found["model_version"], output, time.monotonic(), _why(found))


def _why(found: Any) -> str:
    return f"{found['reason']}: {found['sentence']}" if found["degraded"] else ""


def by_rows(found: Any) -> Got:
    (one,) = found["results"]
    if "output" not in one:
        raise Failed(json.dumps(one))
    (output,) = one["output"].values()
    return Got("rows", one["receipt"], one["model_version"], output, time.monotonic())


def by_oip(found: Any) -> Got:
    receipt = found["parameters"]["receipt"]
    return Got("oip", receipt, int(found["model_version"]), found["outputs"][0]["data"][0], time.monotonic())


def everybody(port: int, calls: int, token: str, key: str, row: dict[str, Any]) -> list[Asking]:
    """Callers by key and by rows, over /v1 and the Open Inference Protocol, with connections kept and fresh; gRPC."""
    v1, v2 = "/v1/churn/predict", "/v2/models/churn/infer"
    tensor = {"inputs": [{"name": "key", "datatype": "BYTES", "shape": [1], "data": [key]}]}
    found: list[Asking] = []
    for fresh in (False, True):
        found += [
            Http(port, token, v1, {"key": key}, read=by_key, fresh=fresh),
            Http(port, token, v1, {"rows": [row]}, read=by_rows, fresh=fresh),
            Http(port, token, v2, tensor, read=by_oip, fresh=fresh),
        ]
    return [*found, *(Grpc(calls, token, key) for _ in range(2))]


class Load:
    """Threads that ask again and again until told to stop, or, `once_refused`, until nobody takes a connection."""

    def __init__(self, callers: Sequence[Asking], *, once_refused: bool = False) -> None:
        self.got: list[Got] = []
        self.failed: list[str] = []
        self.refused = 0
        self._once_refused = once_refused
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in callers]

    def _run(self, caller: Asking) -> None:
        while not self._ended.is_set():
            try:
                self.got.append(caller())
            except Refused:
                self.refused += 1
                if self._once_refused:
                    break
            except Exception as error:  # noqa: BLE001 - whatever it is, it is written down and fails the test
                self.failed.append(f"{type(caller).__name__} {type(error).__name__}: {error}")
            self._ended.wait(PAUSE_S)
        caller.close()

    def until(self, enough: Callable[[], object], what: str, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < deadline, f"waited in vain until {what}: {self}"
            time.sleep(0.02)

    def more(self, count: int) -> None:
        """Waits for so many more answers of each kind that there is."""
        before = len(self.got)
        kinds = {one.kind for one in self.got}
        self.until(
            lambda: all(sum(one.kind == kind for one in self.got[before:]) >= count for kind in kinds),
            f"{count} more answers of each kind",
        )

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(40)

    def join(self) -> None:
        """Waits until every caller was refused."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"a caller hangs: {self}"

    def __str__(self) -> str:
        kinds = {one.kind: sum(each.kind == one.kind for each in self.got) for one in self.got}
        return f"{kinds} answered, {self.refused} refused, {len(self.failed)} failed {self.failed[:3]}"

    @contextlib.contextmanager
    def going(self) -> Iterator[Load]:
        """Asks within the block, from when each kind of caller was answered."""
        for thread in self._threads:
            thread.start()
        try:
            self.until(
                lambda: {one.kind for one in self.got} == {"key", "rows", "oip", "grpc"}, "everybody is answered"
            )
            yield self
        finally:
            self.end()
