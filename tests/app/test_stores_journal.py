"""Two machines whose journal is in PostgreSQL as well: each has its receipts on its own disk only for a moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.app.answers import readers, receipt, verify
from mainstay.app.commands import ask
from mainstay.app.place import Place, user
from mainstay.app.status import read_status
from mainstay.app.stores import open_state
from mainstay.core.clock import SECOND, SystemClock
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import archive
from mainstay.serving.keys import create_key
from mainstay.testing.postgres import Database
from mainstay.testing.redis_server import RedisServer
from tests.app.machines import Shared, answers, poll, sharing

JOURNAL = '  journal: {kind: postgres, url: "${STATE_URL}"}\n'


@pytest.fixture
def shared(
    tmp_path: Path, postgres_db: Database, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shared]:
    with sharing(tmp_path, postgres_db, redis, monkeypatch, more=JOURNAL) as world:
        yield world


def _token(shared: Shared) -> str:
    with closing(open_state(shared.machines[0].place.home)) as state:
        return create_key(state, "test", "operate", clock=SystemClock(), expires_us=None)[0]


def _found(shared: Shared, name: str, machine: int) -> bool:
    with readers(shared.machines[machine].place) as found:
        return found.journal.get(name) is not None


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_receipts_and_decisions_meet_from_any_machine_and_survive_the_loss_of_one(
    shared: Shared, postgres_db: Database, tmp_path: Path
) -> None:
    here, there = shared.machines
    here.up()
    there.up()
    poll(lambda: shared.dataset().rows == 6, "the first rows are published")
    token = _token(shared)
    for machine in (here, there):
        poll(lambda: answers(machine, token, "person-0003", 0.3), "both answer")  # noqa: B023 - called at once
    assert not (tmp_path / "disk" / "churn" / "journal").exists(), "the shared folder has no part in it"

    given = [here.answer(token, f"person-000{number}")["receipt"] for number in range(1, 6)]
    decided = there.decide(token, given[0], "accepted")
    assert decided["receipt"] == given[0], "a decision is taken by a machine that may not have the receipt yet"
    assert there.decide(token, given[0], "accepted")["repeated"]
    poll(lambda: _found(shared, given[-1], 1), "what one machine gave is shipped")
    assert there.receipt(token, given[2])["key"] == "person-0003"
    for worker in [one for one in here.all() if "mainstay.http.serve" in one.cmdline()]:
        worker.kill()
    poll(here.ready, "another worker answers")
    assert here.receipt(token, given[4])["key"] == "person-0005"

    owner = shared.owner(postgres_db)
    mine = {f"pid {process.pid} of {user()} on {os.uname().nodename} (mainstay up)" for process in here.all()}
    dying, living = (here, there) if owner in mine else (there, here)
    last = dying.answer(token, "person-0006")["receipt"]
    number = shared.machines.index(living)
    poll(lambda: _found(shared, last, number), "its last receipt is shipped")
    dying.signal(signal.SIGKILL)
    shared.shop.exec("UPDATE customers SET tenure = 93 WHERE customer_id = 'person-0003'")
    poll(lambda: answers(living, token, "person-0003", 0.93), "the other machine goes on publishing")
    assert living.receipt(token, last)["key"] == "person-0006"
    moved = ask(living.place, "flush", {})["journal"]
    assert not moved["corrupt"]
    with readers(living.place) as found:
        for name in (*given, last):
            assert verify(found, name).verdict is Verdict.PASS
        decisions = archive.events_for(given[0], found.journal, found.history)
        assert [(event.kind, event.body["decision"]) for event in decisions] == [("decision", "accepted")]
        rows = [row["id"] for row in archive.history_rows(found.history, archive.RECEIPTS, ("id",))]
        assert len(rows) == len(set(rows)), "each receipt is in history once"
        assert set(given) | {last} <= set(rows)
    assert sum(batch.counts["published"] for batch in shared.batches()) == 7, "six rows and one change, each once"
    poll(lambda: _silent(living.place), "status tells of the machine that is gone")


def _silent(place: Place) -> bool:
    status = read_status(place, SystemClock())
    assert "bytes on this machine's disk alone" in status.journal
    return any("its newest receipts may be on its disk alone" in one.sentence for one in status.wrong)


def test_a_person_is_erased_from_what_other_machines_gave(shared: Shared, postgres_db: Database) -> None:
    here, there = shared.machines
    here.up()
    there.up()
    poll(lambda: shared.dataset().rows == 6, "the first rows are published")
    token = _token(shared)
    for machine in (here, there):
        poll(lambda: answers(machine, token, "person-0002", 0.2), "both answer")  # noqa: B023 - called at once
    ids = [machine.answer(token, "person-0002")["receipt"] for machine in (here, there)]
    erased = ask(there.place, "erase", {"key": "person-0002", "reason": "asked for it"}, timeout_us=120 * SECOND)
    assert erased["clean"], erased["traces"]
    for machine in shared.machines:
        with readers(machine.place) as found:
            for name in ids:
                one = receipt(found, name)
                assert (one.key, one.inputs) == (None, None)
    assert not any(
        b"person-0002" in bytes(body) for (body,) in postgres_db.exec("SELECT body FROM mainstay_journal_piece")
    )
    for machine in shared.machines:
        assert not any(b"person-0002" in file.read_bytes() for file in machine.place.home.journal.glob("*.seg"))


def test_what_a_command_wrote_is_shipped_when_it_ends(shared: Shared) -> None:
    here, there = (machine.place for machine in shared.machines)
    ask(here, "apply", {})
    ask(here, "run", {})
    assert not list(here.home.journal.glob("*.seg"))
    with readers(there) as found:
        kinds = [entry.kind for one in found.journal.segments() for entry, _ in found.journal.scan(one.name)]
    assert "event" in kinds
    assert "0 bytes on this machine's disk alone" in read_status(there, SystemClock()).journal
