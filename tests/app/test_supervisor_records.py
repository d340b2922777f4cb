"""Who says that a process is alive: itself, where it can; the supervisor must not say it of one that hangs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from mainstay.app.supervisor import Child, Supervisor
from mainstay.core.records import ProcessState
from mainstay.store.memory import MemoryState


def test_a_child_that_speaks_for_itself_is_not_reported_as_seen() -> None:
    state = MemoryState()
    code = "import time; time.sleep(60)"
    children = [
        Child(name="loop", argv=(sys.executable, "-c", code), speaks=True),
        Child(name="api-1", argv=(sys.executable, "-c", code)),
    ]
    supervisor = Supervisor(children, state=state, say=lambda _line: None)
    try:
        supervisor.tick()
        assert state.get("process", "api-1") is not None
        assert state.get("process", "loop") is None
    finally:
        supervisor.end()


def test_the_death_of_one_that_spoke_is_told_with_when_it_was_last_alive() -> None:
    state = MemoryState()
    child = Child(name="loop", argv=(sys.executable, "-c", "raise SystemExit(3)"), speaks=True)
    supervisor = Supervisor([child], state=state, say=lambda _line: None)
    deadline = time.monotonic() + 20
    try:
        while (found := state.get("process", "loop")) is None:
            assert time.monotonic() < deadline
            supervisor.tick()
            time.sleep(0.01)
        record = msgspec.json.decode(found.body, type=ProcessState)
        assert record.pid == 0
        assert "exit code 3" in record.note
    finally:
        supervisor.end()


def test_a_child_that_ends_to_begin_anew_is_counted_and_no_fault(tmp_path: Path) -> None:
    state, said, first = MemoryState(), list[str](), tmp_path / "first"
    code = f"import pathlib, time; p = pathlib.Path({str(first)!r}); p.exists() and time.sleep(60); p.touch()"
    child = Child(name="api-1", argv=(sys.executable, "-c", code))
    supervisor = Supervisor([child], state=state, say=said.append)
    deadline = time.monotonic() + 20
    notes = set()
    try:
        while True:
            assert time.monotonic() < deadline
            supervisor.tick()
            found = state.get("process", "api-1")
            assert found is not None
            record = msgspec.json.decode(found.body, type=ProcessState)
            notes.add(record.note)
            if record.restarts == 1 and record.pid:
                break
            time.sleep(0.01)
    finally:
        supervisor.end()
    assert (notes, said) == ({""}, ["api-1 begins anew"])
