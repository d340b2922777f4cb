"""What `status` says of `up` and its processes: was it killed, stopped in order, or has it just begun."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from mainstay.app.lock_said import LOCKS
from mainstay.app.up_said import findings, hung, is_gone, lines
from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.records import ProcessState
from mainstay.store.home import Home, Stores
from mainstay.store.lease import sole

NOW = 1_764_000_000 * SECOND
HERE = f"@{socket.gethostname()}"


def record(name: str, *, pid: int = 7, ago_us: int = MINUTE, note: str = "") -> dict[str, ProcessState]:
    return {name: ProcessState(name=name, pid=pid, since_us=NOW - MINUTE, seen_us=NOW - ago_us, note=note)}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path, "shop")
    made.create()
    return made


@pytest.mark.skipif(not LOCKS.exists(), reason="the system does not tell who holds a lock")
def test_up_was_killed_where_nobody_holds_its_lock_and_its_processes_are_silent(home: Home) -> None:
    left = record("loop") | record("api-1")
    assert not is_gone(home, left, NOW), "`up` has never run: there is no lock"
    with sole(home.up, owner="mainstay up"):
        assert not is_gone(home, left, NOW)
    assert is_gone(home, left, NOW)
    assert not is_gone(home, left | record("api-2", ago_us=SECOND), NOW)
    assert not is_gone(home, {}, NOW)


@pytest.mark.skipif(not LOCKS.exists(), reason="the system does not tell who holds a lock")
def test_what_says_why_there_is_no_status_page_is_not_left_by_one_that_was_killed(home: Home) -> None:
    with sole(home.up, owner="mainstay up"):
        pass
    assert not is_gone(home, record("status-page", pid=0, note="port 80 is taken"), NOW)


@pytest.mark.skipif(not LOCKS.exists(), reason="the system does not tell who holds a lock")
def test_in_a_shared_state_the_processes_of_other_machines_are_not_ours(tmp_path: Path) -> None:
    stores = Stores(state="postgresql:///x", online="redis://x", folder=str(tmp_path / "shared"))
    shared = Home(tmp_path / "here", "shop", stores=stores)
    shared.folder.mkdir(parents=True)
    with sole(shared.up, owner="mainstay up"):
        pass
    others = record("loop") | record("api-1@elsewhere")
    assert not is_gone(shared, others, NOW)
    assert is_gone(shared, others | record(f"api-1{HERE}"), NOW)


def test_a_worker_that_runs_and_tells_nothing_hangs(home: Home) -> None:
    seen = record("api-1", ago_us=SECOND)
    (found,) = hung(home, seen | record("api-2", ago_us=SECOND), {"api-1": NOW - 11 * SECOND, "api-2": NOW}, NOW)
    assert found.sentence == "api-1 has told nothing for 11 s: it hangs, or cannot write its counters"
    assert "kill -9 7," in found.mend
    for processes, told in (
        (record("api-1", ago_us=11 * SECOND), NOW - 11 * SECOND),  # its supervisor is silent too
        (record("api-1", pid=0, ago_us=SECOND), NOW - 11 * SECOND),
        (record("loop", ago_us=SECOND), NOW - 11 * SECOND),
        (record("api-1@elsewhere", ago_us=SECOND), NOW - 11 * SECOND),
        ({"api-1": msgspec.structs.replace(seen["api-1"], since_us=NOW - SECOND)}, NOW - 11 * SECOND),  # just begun
    ):
        assert list(hung(home, processes, {"api-1": told}, NOW)) == []


@pytest.mark.parametrize(
    ("processes", "gone", "sentence", "mend"),
    [
        ({}, False, "`mainstay up` does not run: no dataset is kept current", "mainstay up"),
        (record("status-page", pid=0, note="taken"), False, "`mainstay up` does not run", "mainstay up"),
        (record("api-1"), False, "`mainstay up` does not run", "mainstay up"),
        (record("api-1", ago_us=SECOND), False, "the loop has not begun yet", "see what `mainstay up` writes"),
        (record("loop") | record("api-1"), True, "`mainstay up` was killed: nobody answers here", "mainstay up"),
    ],
)
def test_where_no_loop_is_heard_it_says_which_of_the_reasons_it_is(
    processes: dict[str, ProcessState], gone: bool, sentence: str, mend: str
) -> None:
    (found,) = findings(processes, NOW, gone=gone)
    assert (found.verdict, found.mend) == ("FAIL", mend)
    assert found.sentence.startswith(sentence)


def test_a_process_is_a_record_with_a_sentence() -> None:
    one = ProcessState(name="api-1", pid=7, since_us=NOW - MINUTE, seen_us=NOW - SECOND, restarts=1, ports={"http": 80})
    line = lines({"api-1": one}, NOW)["api-1"]
    assert (line.pid, line.restarts, line.ports) == (7, 1, {"http": 80})
    assert line.sentence == "pid 7, seen 1 s ago, 1 restart"
