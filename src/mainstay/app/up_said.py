"""What `status` says of `mainstay up` and of the processes that it runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

import msgspec

from mainstay.app.lock_said import is_locked
from mainstay.core.clock import SECOND, iso, span
from mainstay.core.counts import counted
from mainstay.core.records import ProcessState
from mainstay.core.verdicts import Finding, Verdict
from mainstay.store.home import Home

LOOP = "loop"
SILENT_US = 10 * SECOND
"""A loop that has said nothing for so long is dead, or hangs."""
GONE_US = 4 * SECOND
"""Where nobody holds the lock of `up`, its processes are taken for gone once they have said nothing for so long."""


class ProcessLine(msgspec.Struct, frozen=True, kw_only=True):
    """A process of `up` as `status` shows it."""

    pid: int
    """0: it does not run."""
    since: str
    seen: str
    """When it was last alive, by its own word or its supervisor's."""
    restarts: int
    note: str
    """How it ended the last time, or what hinders it; empty when all is well."""
    ports: dict[str, int]
    """What it listens on."""
    sentence: str
    """The same in words."""


def lines(processes: Mapping[str, ProcessState], now_us: int) -> dict[str, ProcessLine]:
    """Name -> the process."""
    return {name: _line(one, now_us) for name, one in processes.items()}


def _line(one: ProcessState, now_us: int) -> ProcessLine:
    restarts = max(one.restarts, 0)
    return ProcessLine(
        pid=one.pid,
        since=iso(one.since_us),
        seen=iso(one.seen_us),
        restarts=restarts,
        note=one.note,
        ports=one.ports,
        sentence=f"pid {one.pid}, seen {span(max(0, now_us - one.seen_us))} ago, {counted(restarts, 'restart')}",
    )


def machine(home: Home) -> str:
    """What stands behind the name of each process of this machine's `up`, where several write into one state."""
    return "" if home.stores is None else f"@{socket.gethostname()}"


def is_gone(home: Home, processes: Mapping[str, ProcessState], now_us: int) -> bool:
    """Whether `up` of this machine was killed: it has left its processes' records, and nobody holds its lock.

    False too where the system does not tell who holds a lock. A record without a process stays behind an orderly end:
    it says why there is no status page. And in a state that is shared the loop may be another machine's.
    """
    here = machine(home)
    mine = [one.seen_us for name, one in processes.items() if one.pid and name.endswith(here)]
    return bool(mine) and now_us - max(mine) > GONE_US and is_locked(home.up) is False


def findings(processes: Mapping[str, ProcessState], now_us: int, *, gone: bool) -> Iterator[Finding]:
    """What is wrong with them. `gone`: see `is_gone`."""
    loop = processes.get(LOOP)
    if gone or loop is None or now_us - loop.seen_us > SILENT_US:
        yield _unheard(processes, now_us, gone=gone)
        return
    for name, one in processes.items():
        if one.note:
            yield Finding(check=f"processes.{name}", verdict=Verdict.WARN, sentence=f"{name}: {one.note}")


def hung(home: Home, processes: Mapping[str, ProcessState], told: Mapping[str, int], now_us: int) -> Iterator[Finding]:
    """A failure for each worker of this machine that runs and tells nothing.

    Its supervisor sees that its process is there. What it counts it writes itself, every second.

    Args:
        home: Of the integration.
        processes: Name -> what its supervisor said last.
        told: Worker -> when it wrote its counters last.
        now_us: Now.
    """
    here = machine(home)
    for name, one in processes.items():
        last_us = told.get(name.removesuffix(here), 0) if name.endswith(here) else 0
        if not last_us or not one.pid or now_us - one.seen_us > SILENT_US:
            continue
        silent_us = now_us - max(last_us, one.since_us)
        if silent_us > SILENT_US:
            yield Finding(
                check=f"processes.{name}", verdict=Verdict.FAIL,
                sentence=f"{name} has told nothing for {span(silent_us)}: it hangs, or cannot write its counters",
                mend=f"where the disk takes writes: kill -9 {one.pid}, another takes its place",
            )  # fmt: skip


def _unheard(processes: Mapping[str, ProcessState], now_us: int, *, gone: bool) -> Finding:
    loop, mend = processes.get(LOOP), "mainstay up"
    if gone:
        sentence = "`mainstay up` was killed: nobody answers here, and no dataset is kept current"
    elif loop is not None:
        sentence = f"the loop was last seen {span(now_us - loop.seen_us)} ago: no dataset is kept current"
    elif any(one.pid and now_us - one.seen_us <= SILENT_US for one in processes.values()):
        sentence, mend = "the loop has not begun yet: no dataset is kept current", "see what `mainstay up` writes"
    else:
        sentence = "`mainstay up` does not run: no dataset is kept current"
    return Finding(check="processes.loop", verdict=Verdict.FAIL, sentence=sentence, mend=mend)
