"""How each server of bench_api is started and asked: every peer by its own means."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import beside
import psutil
from api import world

HERE = Path(__file__).parent
FAST = ("fastapi==0.136.0", "uvicorn[standard]==0.54.0", "lightgbm==4.7.0", "onnxruntime==1.25.0", "numpy<3")
PEERS = {
    "mlserver": ("mlserver==1.7.1", "mlserver-lightgbm==1.7.1", "uvloop<0.22"),
    "bentoml": ("bentoml==1.4.30", "lightgbm==4.7.0", "numpy<3"),
    "litserve": ("litserve==0.2.19", "lightgbm==4.7.0", "numpy<3"),
    "mlflow": ("mlflow==3.6.0", "lightgbm==4.7.0", "fastapi==0.121.0", "starlette<1"),
    "ray": ("ray[serve]==2.55.0", "protobuf<7", "lightgbm==4.7.0", "numpy<3"),
}
"""Peer -> what its environment holds."""

Body = Callable[[str, list[float]], Any]


class Server(NamedTuple):
    """One server as it is measured."""

    name: str
    model: str
    port: int
    path: str
    body: Body
    """Key and row -> what is sent."""
    answer: Callable[[Any], float]
    """A reply's JSON -> the probability."""
    token: str
    process: psutil.Process
    whole: bool = False
    """Whether its processes may have both cores."""

    def tree(self) -> list[psutil.Process]:
        """Its processes, children included."""
        return [self.process, *self.process.children(recursive=True)]


def pin(process: psutil.Process, cores: list[int]) -> None:
    """Every thread that it has; those that it begins later get the cores of whoever begins them."""
    for thread in process.threads():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cores)


def row_of(_key: str, row: list[float]) -> Any:
    return dict(zip(world.FEATURES, row, strict=True))


def _tensor(_key: str, row: list[float]) -> Any:
    return {"inputs": [{"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": row}]}


def start(argv: list[str], folder: Path, log: str, **env: str) -> psutil.Process:
    with (folder / f"{log}.log").open("wb") as file:
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.Popen(argv, cwd=folder, stdout=file, stderr=file, env=own | beside.QUIET | env)
    return psutil.Process(done.pid)


def floor(folder: Path, port: int) -> Server:
    """Raw ASGI on uvicorn, a constant."""
    process = start([sys.executable, str(HERE / "floor.py"), str(folder), str(port)], folder, "floor")
    return Server("raw uvicorn, a constant", "", port, "/predict", row_of, lambda said: said["p"], "", process)


def fast(folder: Path, port: int, model: str) -> Server:
    """FastAPI by hand."""
    process = start([sys.executable, str(HERE / "fast.py"), str(folder), str(port), model], folder, f"fast-{model}")
    what = "LightGBM" if model == "lightgbm" else "ONNX Runtime"
    return Server(f"FastAPI + {what}", model, port, "/predict", row_of, lambda said: said["p"], "", process)


def mlserver(folder: Path, port: int, *, workers: int, batch: bool) -> Server:
    """MLServer with its LightGBM runtime."""
    home = folder / f"mlserver-{workers}-{int(batch)}"
    home.mkdir()
    settings = {"http_port": port, "grpc_port": port + 300, "metrics_port": port + 600, "parallel_workers": workers}
    (home / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, **settings}))
    model: dict[str, Any] = {
        "name": "churn",
        "implementation": "mlserver_lightgbm.LightGBMModel",
        "parameters": {"uri": str(folder / "model.txt")},
    }
    if batch:
        model |= {"max_batch_size": 64, "max_batch_time": 0.002}
    (home / "model-settings.json").write_text(json.dumps(model))
    python = beside.environment("mlserver-lightgbm", PEERS["mlserver"])
    # On one core two threads of LightGBM would wait for each other: its best setting is one.
    process = start([str(python.with_name("mlserver")), "start", str(home)], folder, home.name, OMP_NUM_THREADS="1")
    how = "batching" if batch else f"{workers} workers" if workers else "workers off"
    return Server(
        f"MLServer, {how}", "lightgbm", port, "/v2/models/churn/infer", _tensor,
        lambda said: said["outputs"][0]["data"][0], "", process,
    )  # fmt: skip


def scripted(folder: Path, port: int, peer: str, name: str) -> Server:
    """A peer whose service is a script of this folder: argv is folder and port."""
    python = beside.environment(f"api-{peer}", PEERS[peer])
    path = {"mlflow": "/invocations"}.get(peer, "/predict")
    answers: dict[str, Callable[[Any], float]] = {"mlflow": lambda said: said["predictions"][0]}
    bodies: dict[str, Body] = {"mlflow": lambda _key, row: {"inputs": [row]}}
    process = start([str(python), str(HERE / f"peer_{peer}.py"), str(folder), str(port)], folder, peer)
    body = bodies.get(peer, lambda _key, row: {"row": row})
    return Server(name, "lightgbm", port, path, body, answers.get(peer, lambda said: said["p"]), "", process)
