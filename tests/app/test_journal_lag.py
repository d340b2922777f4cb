"""What status says of a journal that is shipped."""

from __future__ import annotations

from mainstay.app.journal_lag import JournalLag, findings, told
from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.verdicts import Verdict
from mainstay.store.journal_postgres import MachineSeen

HERE = MachineSeen(machine="m-1", host="here", silent_us=1 * SECOND, open=2)
THERE = MachineSeen(machine="m-2", host="there", silent_us=90 * MINUTE, open=1)


def _verdicts(lag: JournalLag | None) -> list[tuple[str, Verdict]]:
    return [(one.check, one.verdict) for one in findings(lag)]


def test_a_journal_in_files_says_nothing() -> None:
    assert findings(None) == []
    assert told(None) == ""


def test_what_is_on_its_way_is_nothing_wrong() -> None:
    lag = JournalLag(behind=4_096, here="m-1", machines=(HERE,))
    assert findings(lag) == []
    assert told(lag) == "4,096 bytes on this machine's disk alone; shipped by here 1 s ago"


def test_receipts_that_nobody_ships_fail() -> None:
    silent = MachineSeen(machine="m-1", host="here", silent_us=1 * MINUTE, open=1)
    assert _verdicts(JournalLag(behind=1, here="m-1", machines=(silent,))) == [("journal.behind", Verdict.FAIL)]
    assert _verdicts(JournalLag(behind=1, here="m-1")) == [("journal.behind", Verdict.FAIL)]
    assert _verdicts(JournalLag(behind=0, here="m-1", machines=(silent,))) == []


def test_a_machine_that_fell_silent_with_segments_open_warns() -> None:
    assert _verdicts(JournalLag(here="m-1", machines=(HERE, THERE))) == [("journal.machine", Verdict.WARN)]
    closed = MachineSeen(machine="m-2", host="there", silent_us=90 * MINUTE, open=0)
    assert _verdicts(JournalLag(here="m-1", machines=(HERE, closed))) == []


def test_a_database_that_cannot_be_asked_is_an_error() -> None:
    assert _verdicts(JournalLag(away="no connection")) == [("journal", Verdict.ERROR)]
