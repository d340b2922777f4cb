"""Peers, each in an environment of its own under `.make/peers`, made when first asked for and used again after.

A peer's own part is a script in `bench/peers`, run by the peer's interpreter; its last line is what it found, as JSON.
Nothing of a peer is ever installed beside Mainstay.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".make" / "peers"
SCRIPTS = ROOT / "bench" / "peers"

PEERS: dict[str, tuple[str, ...]] = {
    "dlt": (
        "dlt[duckdb,parquet,sql_database]==1.31.0", "connectorx==0.4.6", "pandas==3.1.1", "psycopg[binary]==3.3.9",
    ),
    "feast": ("feast==0.67.0",),
    "great_expectations": ("great-expectations==1.24.1", "pyarrow==26.0.1"),
    "pandera": ("pandera[pandas,polars]==0.35.0", "pyarrow==26.0.1"),
    "mlserver": ("mlserver==1.7.1",),
}  # fmt: skip
"""Peer -> what its environment holds, pinned."""

QUIET = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "FEAST_USAGE": "False",
    "GX_ANALYTICS_ENABLED": "false",
    "PYTHONWARNINGS": "ignore",
}
"""No peer tells anybody that it was run."""


class NotHere(Exception):
    """The peer cannot be installed on this machine; the text says why."""


def uv() -> str:
    """The uv that the Makefile uses."""
    return shutil.which("uv") or str(ROOT / ".make" / "uv" / "bin" / "uv")


def uv_variables() -> dict[str, str]:
    """Whoever has no uv has its cache in this folder too."""
    own = {} if shutil.which("uv") else {"UV_CACHE_DIR": str(ROOT / ".make" / "cache")}
    return {**own, **os.environ}


def environment(peer: str, packages: Iterable[str] = ()) -> Path:
    """The peer's interpreter, its environment made first where it is not there or its pins changed."""
    wanted = "\n".join(tuple(packages) or PEERS[peer])
    folder, mark = HOME / peer, HOME / peer / ".packages"
    python = folder / "bin" / "python"
    if mark.exists() and mark.read_text() == wanted:
        return python
    print(f"installing {peer} into .make/peers", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    for step in (
        [uv(), "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv(), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *wanted.splitlines()],
    ):
        try:
            done = subprocess.run(step, env=uv_variables(), capture_output=True, text=True, check=False, timeout=1800)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotHere(f"{peer} could not be installed: {error}") from error
        if done.returncode:
            lines = [line.strip(" ×╰─▶│├┬") for line in done.stderr.splitlines() if line.strip()]
            raise NotHere(f"{peer} could not be installed: {' '.join(lines)[:300]}")
    mark.write_text(wanted)
    return python


def variables() -> dict[str, str]:
    """What a peer's process is started with."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **QUIET}


def run_peer(peer: str, script: str, *arguments: object) -> dict[str, Any]:
    """Runs a script of `bench/peers` by the peer's interpreter; what it printed last."""
    return told([str(environment(peer)), str(SCRIPTS / script), *map(str, arguments)], peer)


def run_own(script: str, *arguments: object) -> dict[str, Any]:
    """Runs a benchmark's own part in a process of its own; what it printed last."""
    return told([sys.executable, script, *map(str, arguments)], "mainstay")


def told(command: list[str], who: str) -> dict[str, Any]:
    own = command[0] == sys.executable
    done = subprocess.run(
        command, env=None if own else variables(), capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(f"{who} did not come to its end:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def middle(rounds: list[dict[str, Any]], name: str = "seconds") -> float:
    return float(statistics.median(one[name] for one in rounds))


def most(rounds: list[dict[str, Any]], name: str = "peak_mib") -> float:
    return float(max(one[name] for one in rounds))
