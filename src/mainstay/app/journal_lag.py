"""What of the journal is on one machine's disk alone, where a database keeps it: said before that disk dies."""

from __future__ import annotations

from contextlib import closing

import msgspec

from mainstay.app.stores import open_shipped, ships_journal
from mainstay.core.clock import SECOND, Clock, span
from mainstay.core.errors import StoreError
from mainstay.core.verdicts import Finding, Verdict
from mainstay.store.home import Home
from mainstay.store.journal_postgres import GONE_S, MachineSeen

SILENT_US = 10 * SECOND


class JournalLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far the database is behind."""

    behind: int = 0
    """Bytes of records on this machine's disk alone."""
    here: str = ""
    """This machine among `machines`."""
    machines: tuple[MachineSeen, ...] = ()
    away: str = ""
    """Why the database could not be asked; empty when it was."""


def read_lag(home: Home, clock: Clock) -> JournalLag | None:
    """Looks here and in the database. None where the journal is kept in files."""
    if not ships_journal(home):
        return None
    try:
        with closing(open_shipped(home, clock)) as journal:
            return JournalLag(behind=journal.behind(), here=journal.machine.name, machines=journal.machines())
    except StoreError as error:
        return JournalLag(away=error.sentence)


def told(lag: JournalLag | None) -> str:
    """In a line; empty where the journal is kept in files."""
    if lag is None:
        return ""
    if lag.away:
        return f"the database cannot be asked: {lag.away}"
    heard = ", ".join(f"{one.host} {span(max(0, one.silent_us))} ago" for one in lag.machines)
    return f"{lag.behind:,} bytes on this machine's disk alone; shipped by {heard or 'nobody yet'}"


def findings(lag: JournalLag | None) -> list[Finding]:
    """What may be lost with a disk."""
    if lag is None:
        return []
    if lag.away:
        sentence = f"the journal's database cannot be asked, receipts stay where they were given: {lag.away}"
        return [Finding(check="journal", verdict=Verdict.ERROR, sentence=sentence, mend="see to that database")]
    found = []
    mine = next((one for one in lag.machines if one.machine == lag.here), None)
    if lag.behind and (mine is None or mine.silent_us > SILENT_US):
        sentence = (
            f"{lag.behind:,} bytes of receipts and events are on this machine's disk alone, and nobody ships them"
        )
        found.append(Finding(check="journal.behind", verdict=Verdict.FAIL, sentence=sentence, mend="mainstay up"))
    for one in lag.machines:
        if one.machine != lag.here and one.open and one.silent_us > SILENT_US:
            ago = span(one.silent_us)
            sentence = f"{one.host} was last heard of {ago} ago: its newest receipts may be on its disk alone"
            mend = f"start it again; it counts as gone after {GONE_S // 3600} h, and erasures wait for it until then"
            found.append(Finding(check="journal.machine", verdict=Verdict.WARN, sentence=sentence, mend=mend))
    return found
