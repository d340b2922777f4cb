"""Other people's clients, in an environment of their own under `.make/clients`: their pins are not ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / ".make" / "clients"
SCRIPTS = Path(__file__).parent
PACKAGES = ("kserve==0.21.0", "tritonclient[grpc,http]==2.73.0")


def interpreter() -> Path:
    """The interpreter of the clients' environment, made first where it is not there or its pins changed."""
    python, mark = HOME / "bin" / "python", HOME / ".packages"
    wanted = "\n".join(PACKAGES)
    if mark.exists() and mark.read_text() == wanted:
        return python
    found = shutil.which("uv")
    uv = found or str(ROOT / ".make" / "uv" / "bin" / "uv")
    env = dict(os.environ)
    if found is None:
        env.setdefault("UV_CACHE_DIR", str(ROOT / ".make" / "cache"))
    shutil.rmtree(HOME, ignore_errors=True)
    for step in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(HOME)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *PACKAGES],
    ):
        subprocess.run(step, env=env, check=True, timeout=600, capture_output=True)
    mark.write_text(wanted)
    return python


def run(script: str, **settings: Any) -> dict[str, str]:
    """Runs a script by the clients' interpreter: name of each of its checks -> empty, or how it failed."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    command = [str(interpreter()), "-W", "ignore", str(SCRIPTS / script), json.dumps(settings)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def names(script: str) -> list[str]:
    """The names of a script's checks."""
    lines = (SCRIPTS / script).read_text().splitlines()
    return [line.split("(")[0].split()[-1] for line in lines if line.startswith(("def check_", "async def check_"))]
