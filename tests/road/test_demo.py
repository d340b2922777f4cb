"""The demo is the product's own story: it must come true, whole, on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mainstay.app.demo.story import STEPS


@pytest.mark.promise(2)
@pytest.mark.promise(5)
@pytest.mark.promise(6)
@pytest.mark.timeout(600)
def test_the_story_comes_true(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mainstay", "demo", "--once"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert told.returncode == 0, told.stdout[-6_000:] + told.stderr[-2_000:]
    kept, total = map(int, re.findall(r"(\d+) of (\d+) claims came true", told.stdout)[-1])
    assert kept == total > len(STEPS)
    for step in STEPS:
        assert step.title in told.stdout
    assert re.search(r"glue\s+0\.\d\d, HTTP 200", told.stdout)
    assert "✗" not in told.stdout


@pytest.mark.timeout(120)
def test_whoever_ends_it_finds_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mainstay", "demo", "--once"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, stderr=subprocess.STDOUT
    ) as demo:
        started: list[psutil.Process] = []
        while not any("postgres" in one.name() for one in started):
            assert demo.poll() is None
            time.sleep(0.2)
            started = psutil.Process(demo.pid).children(recursive=True)
        demo.terminate()
        told, _ = demo.communicate(timeout=60)
    assert (demo.returncode, "Traceback" in told) == (130, False), told[-2_000:]
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
