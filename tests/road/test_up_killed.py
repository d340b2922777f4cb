"""What `status` says where a process of `up` was killed, and where `up` itself was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.shop import RULE, Shop
from tests.road.running import Running
from tests.road.test_memory import named


def said(running: Running) -> tuple[str, str]:
    """Verdict and sentence of what status says of the loop."""
    wrong: list[dict[str, Any]] = running.status()["wrong"]
    found = [(one["verdict"], one["sentence"]) for one in wrong if one["check"] == "processes.loop"]
    return found[0] if found else ("", "")


@pytest.mark.timeout(300)
def test_status_says_that_the_loop_was_killed_and_that_up_was(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, every="500ms")
    with Running(world) as running:
        running.until(lambda: "loop" in running.status()["processes"], "the loop has said that it lives")
        assert said(running) == ("", "")
        named(running)["loop"].kill()
        running.until(lambda: "SIGKILL" in said(running)[1], "status says how the loop ended")
        running.until(lambda: "loop" in named(running), "it is back")
        back = named(running)["loop"].pid
        running.until(lambda: running.status()["processes"]["loop"]["pid"] == back, "the new one speaks for itself")
        verdict, sentence = said(running)
        assert verdict == "WARN"
        assert sentence.startswith("loop: ended with SIGKILL")
        running.process.kill()
        running.process.wait(30)
    deadline = time.monotonic() + 60
    while said(running)[0] != "FAIL":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert said(running) == ("FAIL", "`mainstay up` was killed: nobody answers here, and no dataset is kept current")
