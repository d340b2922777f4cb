from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from mainstay.app.supervisor import Child, Supervisor, listen, orphaned
from mainstay.core.errors import Refused
from mainstay.core.records import ProcessState
from mainstay.store.memory import MemoryState

PATIENT = (
    "import signal,time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); open({file!r},'w').close(); time.sleep(60)"
)
DEAF = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({file!r},'w').close(); time.sleep(60)"


def child(name: str, code: str, **more: object) -> Child:
    return msgspec.convert({"name": name, "argv": (sys.executable, "-c", code), **more}, Child)


def until(supervisor: Supervisor, what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        supervisor.tick()
        time.sleep(0.01)


def quiet(line: str) -> None:
    del line


def test_a_dead_child_is_started_again_and_the_record_says_so(tmp_path: Path) -> None:
    state, said = MemoryState(), list[str]()
    file = tmp_path / "up"
    supervisor = Supervisor([child("api-1", PATIENT.format(file=str(file)))], state=state, say=said.append)
    until(supervisor, file.exists)
    first = supervisor.pid("api-1")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(supervisor, lambda: supervisor.pid("api-1") not in (None, first))

    def told() -> ProcessState:
        record = state.get("process", "api-1")
        assert record is not None
        return msgspec.json.decode(record.body, type=ProcessState)

    until(supervisor, lambda: told().restarts == 1 and told().pid == supervisor.pid("api-1"))
    assert "SIGKILL" in said[0]
    assert supervisor.end() == ()
    assert state.get("process", "api-1") is None


def test_a_crash_loop_is_backed_off_and_told() -> None:
    said: list[str] = []
    supervisor = Supervisor([child("bad", "raise SystemExit(3)")], say=said.append)
    until(supervisor, lambda: len(said) >= 3)
    assert "ends again and again (3 times, last exit code 3), next try in 1 s" in said[2]
    supervisor.end()


def test_a_deaf_child_is_killed_with_its_group(tmp_path: Path) -> None:
    file, inner = tmp_path / "up", tmp_path / "inner"
    code = (
        f"import subprocess,sys,pathlib; p=subprocess.Popen([sys.executable,'-c',{DEAF.format(file=str(file))!r}]);"
        f"pathlib.Path({str(inner)!r}).write_text(str(p.pid)); p.wait()"
    )
    supervisor = Supervisor(
        [child("deaf", DEAF.format(file=str(tmp_path / "d"))), child("parent", code)], grace_us=300_000
    )
    until(supervisor, lambda: file.exists() and (tmp_path / "d").exists() and inner.exists())
    grandchild = int(inner.read_text())
    assert "deaf" in supervisor.end()
    end = time.monotonic() + 10
    while psutil.pid_exists(grandchild) and psutil.Process(grandchild).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_children_come_and_go(tmp_path: Path) -> None:
    supervisor = Supervisor([], say=quiet)
    file = tmp_path / "up"
    supervisor.add(child("model-1", PATIENT.format(file=str(file))))
    with pytest.raises(Refused, match="running already"):
        supervisor.add(child("model-1", ""))
    until(supervisor, file.exists)
    supervisor.remove("model-1")
    supervisor.remove("never there")
    assert supervisor.names() == ()


def test_what_cannot_be_started_is_told_and_tried_again() -> None:
    said: list[str] = []
    supervisor = Supervisor([Child(name="x", argv=("/nowhere/at/all",))], say=said.append)
    until(supervisor, lambda: len(said) >= 2)
    assert "cannot be started: No such file" in said[0]
    supervisor.end()


def test_sigterm_ends_everything(tmp_path: Path) -> None:
    file = tmp_path / "up"
    code = (
        "import sys; from mainstay.app.supervisor import Child, Supervisor;"
        f"child = Child(name='a', argv=(sys.executable, '-c', {PATIENT.format(file=str(file))!r}))\n"
        "sys.exit(Supervisor([child]).run())"
    )
    up = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    children = psutil.Process(up.pid).children()
    up.terminate()
    assert up.wait(20) == 0
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children)


def test_a_port_that_is_taken_is_refused_in_a_sentence() -> None:
    taken = listen("127.0.0.1", 0)
    with pytest.raises(Refused, match=r"cannot listen on 127\.0\.0\.1 port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(Refused, match=r"mainstay up --port PORT"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(Refused, match=r"--status-port PORT for once, `settings: \{status_page"):
        listen("127.0.0.1", taken.getsockname()[1], setting="status_page: {port: ...}")
    taken.close()


def test_a_child_knows_when_its_supervisor_is_gone() -> None:
    assert not orphaned({})
    assert not orphaned({"MAINSTAY_SUPERVISOR": str(os.getppid())})
    assert orphaned({"MAINSTAY_SUPERVISOR": "1"}) == (os.getppid() != 1)
