"""The original as it is, in its own process and its own interpreter, spoken to in Arrow over a Unix socket.

Options: those of HostOptions (interpreter, format, trusted types, ...), and

    frame       {"container": dataframe|array, "columns": [{"name", "dtype", "missing", "categories", "ordered"}]}
    outputs     [{"name", "type", "method", "index"}], in signature order
    digest      of the artifact
    socket      where the host listens
    start       true: when nobody listens there, start a host of our own (the CLI); false: somebody else does (the API)
    timeout_us  for calls without a deadline
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.errors import ModelAway, ModelError, ModelRefused, ModelTimeout
from mainstay.core.ids import digest_bytes
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel, Row, RuntimeCapabilities
from mainstay.models.inputs import check_rows, columns_of, null, required_of, wrong_type
from mainstay.models.runtimes.python_host import address_of, read_frame, to_stream, write_frame
from mainstay.models.runtimes.python_process import PythonHost, kill_group, refusal_of

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_TIMEOUT_US = 30 * SECOND


class PythonRuntime:
    """See the module for its options."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:
        """Connects to the host. Nobody there: starts one where the options say so, else predicts ModelAway for now."""
        if artifact is None:
            raise ModelRefused("a python model needs its file")
        host = None
        folder = None
        place = options.get("socket")
        digest = options.get("digest") or digest_bytes(artifact.read_bytes())
        if options.get("start") and (place is None or not listening(Path(place))):
            # In a place of its own: the one in the options belongs to the supervisor's host.
            folder = tempfile.mkdtemp(prefix="mainstay-socket-")
            place = str(Path(folder) / "model.sock")
            host = PythonHost(artifact, digest, options, Path(place), clock=self._clock)
            try:
                host.start()
            except ModelError:
                host.close()
                Path(folder).rmdir()
                raise
        if place is None:
            raise ModelRefused("a python model needs the socket of its host", mend="or `start` to start one")
        model = PythonModel(signature, options, place, digest, host=host, folder=folder, clock=self._clock)
        model.prepare()
        with contextlib.suppress(ModelAway):
            model.connect(self._clock.monotonic_us() + DEFAULT_TIMEOUT_US)
        return model


class PythonModel:
    """One connection to a host. Threads take turns on it; a host runs one request at a time anyway."""

    capabilities = RuntimeCapabilities(blocking=True)

    def __init__(
        self,
        signature: Signature,
        options: Mapping[str, Any],
        place: str,
        digest: str,
        *,
        host: PythonHost | None = None,
        folder: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.build = str(options.get("build", ""))
        self.isolation: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self._signature = signature
        self._required = required_of(signature)
        self._hello = {"op": "hello", "frame": options.get("frame"), "outputs": options.get("outputs")}
        self._timeout_us = int(options.get("timeout_us", DEFAULT_TIMEOUT_US))
        self._place = place
        self._digest = digest
        self._host = host
        self._folder = folder
        self._clock = clock or SystemClock()
        self._turn = threading.Lock()
        self._connection: socket.socket | None = None
        self._requests = 0
        self._kills = 0
        self._closed = False
        self._schema: pa.Schema | None = None

    def prepare(self) -> None:
        """Loads what rows are sent with: no request should wait for that."""
        import pyarrow as pa

        self._schema = pa.schema([(field.name, _arrow_type(field.type)) for field in self._signature.inputs])
        to_stream(pa.record_batch([pa.array([0.0])], names=["loads what Arrow loads when it is first used"]))

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        if self._closed:
            raise ModelRefused("the model was closed")
        check_rows(rows, len(self._signature.inputs), self._required)
        if not rows:
            return []
        deadline_us = deadline_us or self._clock.monotonic_us() + self._timeout_us
        _, stream = self.ask({"op": "predict"}, self._encoded(rows), deadline_us)
        return _decoded(stream)

    def ask(self, header: Mapping[str, Any], body: bytes, deadline_us: int) -> tuple[dict[str, Any], bytes]:
        """One request and its reply. Raises what the reply says, ModelTimeout when late, ModelAway when it died."""
        kills = self._kills
        if not self._turn.acquire(timeout=max(self._left_s(deadline_us), 0)):
            raise ModelTimeout("the deadline passed while other requests ran")
        try:
            if kills != self._kills:
                raise ModelTimeout("the model's process hung and was killed while this request waited")
            fresh = self._connection is None
            try:
                return self._exchange(header, body, deadline_us)
            except _Gone as gone:
                if fresh or gone.began:
                    raise ModelAway("the model's process died and is being restarted") from None
                # The host was restarted since the last request: nothing has run yet, so asking again is safe.
                return self._exchange(header, body, deadline_us)
        except _Gone:
            raise ModelAway("the model's process died and is being restarted") from None
        finally:
            self._turn.release()

    def connect(self, deadline_us: int) -> None:
        """Opens the connection and hears the host's hello. Raises ModelAway, ModelTimeout or ModelRefused."""
        if self._host is not None and self._host.ensure() != "ready":
            raise ModelAway("the model's process died and is being restarted")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(self._left_s(deadline_us), 0.001))
            with address_of(self._place) as address:
                connection.connect(address)
            write_frame(connection, self._hello)
            frame = read_frame(connection)
        except TimeoutError:
            connection.close()
            raise ModelTimeout("the model's process did not take the connection before the deadline") from None
        except OSError:
            connection.close()
            raise ModelAway("the model's process is not there; it is being started") from None
        if frame is None:
            connection.close()
            raise ModelAway("the model's process ended while it was being asked")
        told = frame[0]
        if told.get("digest") != self._digest:
            connection.close()
            raise ModelRefused("the process at this socket holds another artifact than the version's")
        self.build = told["build"]
        self.isolation = tuple(told["isolation"])
        self.warnings = tuple(told["warnings"])
        self._connection = connection

    def _exchange(self, header: Mapping[str, Any], body: bytes, deadline_us: int) -> tuple[dict[str, Any], bytes]:
        if self._left_s(deadline_us) <= 0:
            raise ModelTimeout("the deadline had passed before the model was asked")
        if self._connection is None:
            self.connect(deadline_us)
        connection = self._connection
        if connection is None:
            raise _Gone(began=False)
        self._requests += 1
        number = self._requests
        began = False
        try:
            write_frame(connection, {**header, "id": number, "deadline_us": deadline_us}, body)
            while True:
                connection.settimeout(max(self._left_s(deadline_us), 0.001))
                frame = read_frame(connection)
                if frame is None:
                    self._drop()
                    raise _Gone(began=began)
                told, stream = frame
                if told["op"] == "began":
                    began = True
                elif told["op"] == "error":
                    raise refusal_of(told)
                else:
                    return told, stream
        except TimeoutError:
            if began:
                self._kill(connection)
            self._drop()
            raise ModelTimeout(
                "the model did not answer before the deadline, so its process was killed"
                if began
                else "the deadline passed while the model's process ran other requests"
            ) from None
        except OSError:
            self._drop()
            raise _Gone(began=began) from None

    def _kill(self, connection: socket.socket) -> None:
        """Ends the hung host. Its process is the one that listens at the other end, by the kernel's word."""
        self._kills += 1
        if self._host is not None:
            self._host.kill()
            return
        size = struct.calcsize("3i")
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if pid > 1 and pid != os.getpid() and uid == os.getuid():
            kill_group(pid)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _left_s(self, deadline_us: int) -> float:
        return (deadline_us - self._clock.monotonic_us()) / SECOND

    def _encoded(self, rows: Sequence[Row]) -> bytes:
        import pyarrow as pa

        if self._schema is None:
            self.prepare()
        arrays = []
        columns = columns_of(rows, len(self._signature.inputs))
        for field, values in zip(self._signature.inputs, columns, strict=True):
            try:
                arrays.append(pa.array([_exact(value, field.type) for value in values], _arrow_type(field.type)))
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                raise wrong_type(field) from None
        return to_stream(pa.record_batch(arrays, schema=self._schema))

    def present(self) -> bool:
        return not self._closed and (self._connection is not None or listening(Path(self._place)))

    def close(self) -> None:
        self._closed = True
        self._drop()
        if self._host is not None:
            self._host.close()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                Path(self._folder).rmdir()
            self._folder = None


class _Gone(Exception):
    """The connection ended; `began` tells whether the request had begun to run."""

    def __init__(self, *, began: bool) -> None:
        super().__init__()
        self.began = began


def _exact(value: Any, kind: str) -> Any:
    """The value as its Arrow type takes it. Raises TypeError for one that Arrow would round or turn into text."""
    if null(value):
        return None
    if kind == "number":
        return float(value)
    if kind in {"integer", "timestamp"}:
        if isinstance(value, bool) or int(value) != value:
            raise TypeError
        return int(value)
    return value


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    known = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "timestamp": pa.int64()}
    return known.get(name, pa.string())


def _decoded(stream: bytes) -> list[tuple[Any, ...]]:
    import pyarrow as pa

    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def listening(place: Path) -> bool:
    """Whether a host is there to take connections."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, address_of(str(place)) as address:
            return probe.connect_ex(address) == 0
    except FileNotFoundError:
        return False
