# Runs in interpreters and with libraries that are not ours, and starts fast: plain os calls, libraries by full name.
# ruff: noqa: ICN001, PTH100, PTH101, PTH108, PTH118, PTH119, PTH120, PTH123
"""The process that runs a model as it is: this one file, run by the lab's own interpreter.

It imports the standard library, pyarrow and whatever the model needs, and nothing of Mainstay, so that neither's
versions bind the other's. It listens on a Unix socket; every connection speaks frames: two big-endian 32-bit lengths,
a JSON header, and an Arrow IPC stream of one record batch (or nothing). No pickle is ever sent.

    -> hello    {"op", "frame", "outputs"}          <- hello   {"pid", "build", "libraries", "isolation", "digest"}
    -> predict  {"op", "id", "deadline_us"} + rows  <- began   {"id"}     (its turn has come, it runs now)
                                                    <- result  {"id"} + rows   or error {"id", "code", "terminal"}

Deadlines are on the machine's monotonic clock, which all its processes share. One request runs at a time. A request
that outlives its deadline takes the whole process with it, by a timer in C that needs no lock of the interpreter's.
Everything else that a header may ask for (`describe`, `splits`, `convert`) lives in python_lab.py beside this file, and
the opening of artifacts that are folders in python_folder.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import pickle
import platform
import resource
import socket
import struct
import sys
import threading
import time
import traceback
import warnings
from typing import Any

GRACE_US = 150_000
HEAD = struct.Struct(">II")
MOST_HEADER = 64 << 20
MOST_BODY = 1 << 30
LIBRARIES = (
    "torch",
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "joblib",
    "skops",
    "pyarrow",
    "xgboost",
    "lightgbm",
    "catboost",
)


class Refusal(Exception):
    """An answer of no: `code` for the machine, a sentence without any value of a row for people."""

    def __init__(self, code: str, sentence: str, terminal: bool = True, **more: Any) -> None:
        super().__init__(sentence)
        self.header = {"op": "error", "code": code, "sentence": sentence, "terminal": terminal, **more}


# --- frames ------------------------------------------------------------------------------------------------------


def write_frame(connection: socket.socket, header: dict[str, Any], body: bytes = b"") -> None:
    """Sends one frame whole."""
    head = json.dumps(header).encode()
    connection.sendall(HEAD.pack(len(head), len(body)) + head + body)


def read_frame(connection: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """The next frame; None when the other side has gone."""
    lengths = read_exactly(connection, HEAD.size)
    if lengths is None:
        return None
    head_length, body_length = HEAD.unpack(lengths)
    if head_length > MOST_HEADER or body_length > MOST_BODY:
        return None
    head = read_exactly(connection, head_length)
    body = read_exactly(connection, body_length) if body_length else b""
    if head is None or body is None:
        return None
    return json.loads(head), body


def read_exactly(connection: socket.socket, length: int) -> bytes | None:
    """That many bytes; None when the other side has gone before."""
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


@contextlib.contextmanager
def address_of(path: str) -> Any:
    """A name for the socket that fits into the 107 bytes a Unix address has, however deep it lies."""
    if len(os.fsencode(path)) < 100:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


# --- isolation ---------------------------------------------------------------------------------------------------


def isolate(folder: str, parent: int, dies_with_parent: bool) -> list[str]:
    """Takes from this process what a model does not need, as far as the host allows. Returns what was taken."""
    done = ["own process group", "stripped environment"]
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)
    if dies_with_parent and libc.prctl(1, 9, 0, 0, 0) == 0:
        if os.getppid() != parent:
            os._exit(1)
        done.append("dies with its parent")
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        done.append("no core dumps")
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        done.append("1024 open files")
    if no_network(libc):
        done.append("no network")
    if libc.prctl(38, 1, 0, 0, 0) == 0:
        done.append("no new privileges")
    if read_only_but(libc, folder):
        done.append("writes only into its own folder")
    return done


def no_network(libc: Any) -> bool:
    """A network of its own with nothing in it; as an ordinary user, by way of a user namespace."""
    user, network = 0x10000000, 0x40000000
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(network) == 0:
        return True
    if libc.unshare(user | network) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError), open("/proc/self/" + name, "w") as file:
            file.write(text)
    return True


def read_only_but(libc: Any, folder: str) -> bool:
    """By Landlock: files are written, made and removed under `folder` and in /dev only."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return False
    libc.syscall.restype = ctypes.c_long
    rights = 0b1_1111_1111_0010  # write, remove and make of every kind: not execute, not read
    ruleset = ctypes.c_uint64(rights)
    handle = libc.syscall(444, ctypes.byref(ruleset), ctypes.c_size_t(8), 0)
    if handle < 0:
        return False
    try:
        for allowed in (folder, "/dev"):
            opened = os.open(allowed, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = struct.pack("=Qi", rights, opened)
                if libc.syscall(445, handle, 1, rule, 0) != 0:
                    return False
            finally:
                os.close(opened)
        # Needs "no new privileges", which is set before.
        return bool(libc.syscall(446, handle, 0) == 0)
    finally:
        os.close(handle)


# --- the model ---------------------------------------------------------------------------------------------------


def open_model(config: dict[str, Any]) -> tuple[Any, list[str]]:
    """The object in the artifact, its digest checked first, and what its libraries warned of while it was read."""
    with open(config["artifact"], "rb") as file:
        data = file.read()
    if "sha256:" + hashlib.sha256(data).hexdigest() != config["digest"]:
        raise Refusal("digest", "the artifact's bytes do not match its digest, so it was not opened")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            model = unpack(data, config)
        except Refusal:
            raise
        except BaseException as error:
            sentence = f"{type(error).__name__}: {str(error)[:500]}"
            raise Refusal("unreadable", "the artifact cannot be opened by this interpreter: " + sentence) from error
    return model, sorted({f"{one.category.__name__}: {str(one.message)[:300]}" for one in heard})


def unpack(data: bytes, config: dict[str, Any]) -> Any:
    """By the artifact's format. A skops file is opened only when every type it names is trusted."""
    if config["format"] == "skops":
        import skops.io

        unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(config.get("trusted", ())))
        if unknown:
            raise Refusal("untrusted", "the file contains types that nobody has trusted yet", types=unknown)
        return skops.io.loads(data, trusted=list(config.get("trusted", ())))
    if config["format"] in ("class", "mlflow"):
        return beside("python_folder").opened(data, config["folder"], config["format"])
    if config["format"] == "torch":
        return beside("python_torch").opened(data)
    if config["format"] == "joblib":
        import joblib

        return joblib.load(io.BytesIO(data))
    return pickle.loads(data)  # noqa: S301 - the one place where that is meant to happen, its digest checked


def libraries() -> dict[str, str]:
    """The versions that compute the answer."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def rebuild(table: Any, frame: dict[str, Any]) -> Any:
    """The model's input exactly as it was in training: container, order, dtypes, categories, and NaN or None."""
    columns = frame["columns"]
    if frame["container"] == "array":
        import numpy

        arrays = [table.column(spec["name"]).to_numpy() for spec in columns]
        return numpy.column_stack(arrays) if arrays else numpy.empty((table.num_rows, 0))
    if frame["container"] == "columns":
        return {spec["name"]: table.column(spec["name"]).to_numpy() for spec in columns}
    import pandas

    names = [spec["name"] for spec in columns]
    dtypes = {spec["dtype"] for spec in columns}
    if dtypes in ({"float64"}, {"float32"}):
        import numpy

        # One block of numbers: a tenth of the time of as many series, which for one row is most of the call.
        block = numpy.column_stack([table.column(name).to_numpy() for name in names])
        return pandas.DataFrame(block.astype(dtypes.pop(), copy=False), columns=names)
    data = {spec["name"]: series(table.column(spec["name"]), spec, pandas) for spec in columns}
    return pandas.DataFrame(data, columns=names, index=range(table.num_rows))


def series(column: Any, spec: dict[str, Any], pandas: Any) -> Any:
    """One column of the frame."""
    dtype = spec["dtype"]
    if dtype == "category":
        values = pandas.Categorical(
            column.to_pylist(), categories=spec["categories"], ordered=spec.get("ordered", False)
        )
        return pandas.Series(values)
    if dtype in ("object", "str", "string"):
        missing = None if spec.get("missing") == "none" else float("nan")
        values = [missing if value is None else value for value in column.to_pylist()]
        return pandas.Series(values, dtype=dtype)
    if column.null_count and not dtype.startswith(("float", "datetime")):
        raise Refusal("null", "{} is null, and the model was trained on {} without nulls".format(spec["name"], dtype))
    if dtype.startswith("datetime64"):
        return pandas.to_datetime(pandas.Series(column.to_pandas()), unit="us").astype(dtype)
    return pandas.Series(column.to_numpy().astype(dtype, copy=False))


def answer(model: Any, table: Any, frame: dict[str, Any], outputs: list[dict[str, Any]]) -> Any:
    """The outputs as a record batch, each method of the model called once."""
    import numpy
    import pyarrow

    given = rebuild(table, frame)
    results: dict[str, Any] = {}
    arrays = []
    for output in outputs:
        method = output["method"]
        if method not in results:
            results[method] = getattr(model, method)(given)
        column = output.get("column")
        values = numpy.asarray(results[method] if column is None else results[method][column])
        if values.ndim == 2:
            values = values[:, output.get("index") or 0]
        if values.shape != (table.num_rows,):
            raise Refusal("shape", f"{method} gave the shape {values.shape} for {table.num_rows} row(s)")
        arrays.append(pyarrow.array(values.tolist(), type=arrow_type(output["type"])))
    return pyarrow.record_batch(arrays, names=[output["name"] for output in outputs])


def arrow_type(name: str) -> Any:
    """The Arrow type of a signature's type."""
    import pyarrow

    known = {"number": pyarrow.float64(), "integer": pyarrow.int64(), "boolean": pyarrow.bool_()}
    return known.get(name, pyarrow.string())


# --- serving -----------------------------------------------------------------------------------------------------


class Host:
    """The model, and the one lock that lets a single request run at a time."""

    def __init__(self, config: dict[str, Any], isolation: list[str]) -> None:
        self.config = config
        self.turn = threading.Lock()
        self.model, self.warnings = open_model(config)
        found = libraries()
        self.hello = {
            "op": "hello",
            "v": 1,
            "pid": os.getpid(),
            "digest": config["digest"],
            "libraries": found,
            "build": "python " + ", ".join(" ".join(pair) for pair in found.items()).removeprefix("python "),
            "isolation": isolation,
            "warnings": self.warnings,
        }

    def warm(self) -> None:
        """Runs the model once on a made-up row: a first call loads and compiles what no request should wait for."""
        frame = self.config.get("frame") or {}
        if frame.get("container") != "array":
            with contextlib.suppress(ImportError):  # then the first request is told so
                import pandas
                import pyarrow

                # Where no row is known this is all that can be done: to load what rows and answers are rebuilt with.
                pyarrow.array(pandas.Series(pyarrow.chunked_array([[0.0]]).to_numpy()))
        names = [spec["name"] for spec in frame.get("columns", [])]
        row = self.config.get("warm", [])
        if not row or len(row) != len(names):
            return
        import pyarrow

        with warnings.catch_warnings(), contextlib.suppress(Exception):  # it may refuse such a row; none has asked yet
            warnings.simplefilter("ignore")
            table = pyarrow.table({name: [value] for name, value in zip(names, row)})  # noqa: B905 - older interpreters
            answer(self.model, table, self.config["frame"], self.config["outputs"])

    def serve(self, connection: socket.socket) -> None:
        """One connection from hello to its end."""
        session: dict[str, Any] = {}
        with connection, contextlib.suppress(OSError):
            while True:
                frame = read_frame(connection)
                if frame is None:
                    return
                header, body = frame
                if header["op"] == "hello":
                    session = header
                    write_frame(connection, self.hello)
                else:
                    self.request(connection, session, header, body)

    def request(self, connection: socket.socket, session: dict[str, Any], header: dict[str, Any], body: bytes) -> None:
        """Waits for its turn, runs, answers; an error is an answer too."""
        deadline = header["deadline_us"]
        left = (deadline - time.monotonic_ns() // 1_000) / 1e6
        if left <= 0 or not self.turn.acquire(timeout=left):
            late = Refusal("deadline", "the deadline passed before its turn came", terminal=False)
            write_frame(connection, {**late.header, "id": header["id"]})
            return
        try:
            write_frame(connection, {"op": "began", "id": header["id"]})
            left = (deadline + GRACE_US - time.monotonic_ns() // 1_000) / 1e6
            faulthandler.dump_traceback_later(max(left, 0.001), exit=True)
            reply, data = self.run(session, header, body)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self.turn.release()
        write_frame(connection, {**reply, "id": header["id"]}, data)

    def run(self, session: dict[str, Any], header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The reply to one request. What the model's own message says may be personal, so only its kind is told."""
        try:
            if header["op"] != "predict":
                return self.lab(header)
            import pyarrow

            table = pyarrow.ipc.open_stream(body).read_all()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                batch = answer(self.model, table, session["frame"], session["outputs"])
            return {"op": "result"}, to_stream(batch)
        except Refusal as refusal:
            return refusal.header, b""
        except MemoryError:
            return Refusal("memory", "the model ran out of memory", terminal=False).header, b""
        except Exception as error:  # noqa: BLE001 - the model is the plug-in, and may raise anything
            if header["op"] != "predict":
                sentence = f"{type(error).__name__}: {str(error)[:2000]}"
                return Refusal("failed", sentence).header, b""
            last = traceback.extract_tb(error.__traceback__)[-1]
            sentence = f"the model refused the rows: {type(error).__name__} in {last.name}"
            return Refusal("input", sentence).header, b""

    def lab(self, header: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """What is asked at import only."""
        reply: tuple[dict[str, Any], bytes] = beside("python_lab").perform(self.model, header)
        return reply


def beside(name: str) -> Any:
    """The module of this name that lies beside this file."""
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("mainstay_" + name, place)
    if spec is None or spec.loader is None:
        raise Refusal("failed", f"{name}.py does not lie beside the host")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to_stream(batch: Any) -> bytes:
    """An Arrow IPC stream of one record batch."""
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def watch(lifeline: int) -> None:
    """Ends this process when the other end of the pipe is closed, which its parent's death does too."""
    while os.read(lifeline, 1):
        pass
    os._exit(0)


def bound(path: str) -> socket.socket:
    """The socket at `path`, for its owner alone, in place of what a dead host left there. Refuses until it listens."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with address_of(path) as address:
        listener.bind(address)
    os.chmod(path, 0o600)
    return listener


def main() -> None:
    """`python -I python_host.py CONFIG`: tells its parent by `status_fd` how it went, then serves until it is ended."""
    config = json.loads(sys.argv[1])
    # -I keeps the current folder and PYTHONPATH out; the side folder comes last, so that the lab's own versions win.
    sys.path.extend(config.get("paths", []))
    if config.get("side"):
        sys.path.append(config["side"])
    os.chdir(config["folder"])
    threading.stack_size(16 << 20)
    # Bound before the isolation takes the right to make files; it listens once there is a model to answer.
    listener = bound(config["socket"])
    isolation = isolate(config["folder"], config["parent"], config["dies_with_parent"])
    threading.Thread(target=watch, args=(config["lifeline_fd"],), daemon=True).start()
    faulthandler.dump_traceback_later(config["load_timeout_s"], exit=True)
    try:
        import pyarrow.ipc  # noqa: F401 - so that a lack of it is told now

        host = Host(config, isolation)
        host.warm()
        listener.listen(128)
        status = {**host.hello, "ready": True}
    except Refusal as refusal:
        status = refusal.header
    except ImportError as error:
        status = Refusal("missing", f"this interpreter lacks {error.name}", library=error.name).header
    faulthandler.cancel_dump_traceback_later()
    os.write(config["status_fd"], json.dumps(status).encode() + b"\n")
    os.close(config["status_fd"])
    if "ready" not in status:
        sys.exit(1)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=host.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
