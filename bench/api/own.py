"""Mainstay as it is measured: `mainstay up` on a copy of the world, with a model that was added to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
from api import servers

from mainstay.app.supervisor import listen

PATH = "/v1/churn/predict"
FILES = ("crm.sqlite", "mainstay.yaml", "model.txt", "hgb.onnx", "hgb.joblib", "example.csv")
IN_PROCESS = ("model.txt", "hgb.onnx")
"""Every other model needs an interpreter of its own."""


class Own(NamedTuple):
    port: int
    token: str
    process: psutil.Process
    folder: Path


def free_port() -> int:
    with listen("127.0.0.1", 0) as listening:
        return int(listening.getsockname()[1])


def mainstay(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mainstay", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"mainstay {' '.join(words)}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


def up(folder: Path, name: str, *model: str, batching: str = "auto") -> Own:
    """Applies, reads the table, adds a model by the words of `model add`, and starts."""
    home = folder / name
    home.mkdir()
    for each in FILES:
        shutil.copy(folder / each, home)
    shutil.copytree(folder / "features", home / "features")
    text = (home / "mainstay.yaml").read_text()
    (home / "mainstay.yaml").write_text(
        text.replace("  input: customer\n", f"  input: customer\n  batching: {batching}\n")
    )
    mainstay(home, "apply", "--yes")
    mainstay(home, "run")
    lab = () if model[0] in IN_PROCESS else ("--python", sys.executable)
    mainstay(home, "model", "add", *model, *lab)
    mainstay(home, "model", "use", "2")
    token = json.loads(mainstay(home, "--json", "key", "create", "bench"))["key"]
    port = free_port()
    started = servers.start([sys.executable, "-m", "mainstay", "up", "--port", str(port)], home, "up")
    return Own(port, token, started, home)
