"""Mainstay as it is measured: `mainstay up` on a copy of the world, with a model that was added to it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
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


def prepared(folder: Path, name: str, *model: str, batching: str = "auto") -> tuple[Path, str]:
    """A copy of the world, applied and read, with a model by the words of `model add`; its folder, and an API key."""
    home = folder / name
    home.mkdir()
    for each in FILES:
        shutil.copy(folder / each, home)
    shutil.copytree(folder / "features", home / "features")
    file = home / "mainstay.yaml"
    file.write_text(file.read_text().replace("  input: customer\n", f"  input: customer\n  batching: {batching}\n"))
    mainstay(home, "apply", "--yes")
    mainstay(home, "run")
    lab = () if model[0] in IN_PROCESS else ("--python", sys.executable)
    mainstay(home, "model", "add", *model, *lab)
    mainstay(home, "model", "use", "2")
    token: str = json.loads(mainstay(home, "--json", "key", "create", "bench"))["key"]
    return home, token


def up(folder: Path, name: str, *model: str, batching: str = "auto") -> Own:
    """The same, started."""
    home, token = prepared(folder, name, *model, batching=batching)
    port = free_port()
    started = servers.start([sys.executable, "-m", "mainstay", "up", "--port", str(port)], home, "up")
    return Own(port, token, started, home)


def wait(one: Own, seconds: float = 60) -> None:
    """Until it is ready."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{one.port}/health/ready", timeout=5):
                return
        except OSError as error:
            if time.monotonic() > until:
                raise SystemExit(f"it does not get ready: {error}") from None
            time.sleep(0.2)


def end(one: Own) -> None:
    """Ended, with all that it started."""
    tree = [*one.process.children(recursive=True), one.process]
    one.process.send_signal(signal.SIGTERM)
    psutil.wait_procs(tree, 30)
