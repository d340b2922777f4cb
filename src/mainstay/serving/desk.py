"""All that a door is handed: one object per worker, behind which the stores stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import MainstayError, NotFound, StoreError
from mainstay.core.keys import joined_key
from mainstay.core.nouns import Settings
from mainstay.core.nouns_callers import CallersConfig
from mainstay.core.ports import Journal, OnlineReader, Repeats
from mainstay.core.records import ApiKey, DiskSample, Event, Receipt
from mainstay.core.trace import Trace
from mainstay.serving import keys, outgoing
from mainstay.serving.answer import Answering
from mainstay.serving.answer_traced import TracedAnswering
from mainstay.serving.callers import NOTHING_APPLIED, UNKNOWN_KEY, Callers
from mainstay.serving.card_tokens import CardTokens, Grant
from mainstay.serving.faults import Fault
from mainstay.serving.feedback import Feedback
from mainstay.serving.idempotency import Repeating, nowhere
from mainstay.serving.meter import Meter
from mainstay.serving.peers import Peer
from mainstay.serving.personal import Personal
from mainstay.serving.rates import Rates, Taken
from mainstay.serving.request import BadRequest, Key
from mainstay.serving.tally import Tally
from mainstay.serving.tokens import Tokens
from mainstay.serving.view import WorkerView
from mainstay.serving.view_rows import key_texts

T = TypeVar("T")
_NOBODY = CallersConfig()
_USUAL = Settings()
Archive = Callable[[str], Receipt | None]
"""Finds a receipt that has left the journal for history; None where it is not there either."""


class Desk:
    """What one worker answers with.

    Args:
        view: What the worker knows.
        online: The reader half of the online store.
        journal: This process's own.
        clock: For ages and latencies.
        meter: This worker's counters.
        meters: The folder in which every worker's counters lie; None for a worker on its own.
        archive: Where receipts are found that have left the journal.
        cards: Makes and reads the decision card's tokens; None: there are no cards.
        disk: What the home takes of its disk and what is left; None: not known here.
        waits: Whether a receipt may have to be asked of a database: then nobody else waits for it.
        repeats: Opens the store of answers that may be asked for again.
        tokens: Knows the tokens of issuers; None: nobody asks by one.
    """

    def __init__(
        self,
        view: WorkerView,
        online: OnlineReader,
        journal: Journal,
        clock: Clock,
        meter: Meter,
        *,
        meters: Path | None = None,
        archive: Archive | None = None,
        cards: CardTokens | None = None,
        disk: Callable[[], DiskSample | None] = lambda: None,
        waits: bool = False,
        repeats: Callable[[], Repeats] = nowhere,
        tokens: Tokens | None = None,
    ) -> None:
        self.view = view
        self.online = online
        self.clock = clock
        self.meter = meter
        self.cards = cards
        self.meters = meters
        self.callers = Callers(view.keys, clock, self._others, tokens)
        self.tally = Tally(clock)
        self.answering: Answering = Answering(online, journal, clock, meter, self.tally)
        self.feedback = Feedback(journal, clock)
        self.repeating = Repeating(repeats, clock)
        self.rates = Rates(clock, meter)
        self.disk = disk
        self.draining = False
        self._journal = journal
        self._archive = archive
        self._waits = waits
        self._threads: ThreadPoolExecutor | None = None

    async def authenticate(self, token: bytes | None, peer: Peer | None = None) -> ApiKey | Fault:
        """Whoever asks, at whichever door: a caller, else what they are told.

        Args:
            token: What came with the request, unchecked.
            peer: Whose certificate the connection has, verified.
        """
        caller = await self.callers.authenticate(token, peer)
        return NOTHING_APPLIED if caller is UNKNOWN_KEY and self.view.now is None else caller

    def _others(self) -> CallersConfig:
        snap = self.view.now
        return _NOBODY if snap is None else snap.integration.callers

    @property
    def arrive_s(self) -> float:
        """Seconds in which a request's head, and then its body, have to arrive."""
        snap = self.view.now
        return (_USUAL if snap is None else snap.integration.settings).arrive_within_us / SECOND

    def take(self, caller: ApiKey) -> Taken | None:
        """A request of the caller's rate; None where it has none."""
        snap = self.view.now
        return self.rates.take(caller, None if snap is None else snap.integration.settings.rate)

    def not_ready(self) -> tuple[str, ...]:
        """Why requests should go elsewhere; empty when this worker can answer. Sources and the loop do not count."""
        found: list[str] = []
        if self.draining:
            found.append("this worker is stopping")
        snap = self.view.now
        if snap is None:
            return (*found, self.view.problem or "nothing is applied yet")
        if snap.version is None or snap.model is None:
            found.append("no model version answers yet")
        elif not snap.model.present() and snap.integration.fallback is None:
            found.append("the model's process is starting")  # with a fallback, this worker answers meanwhile
        if snap.terms.unread and snap.integration.answer.on_stale == "refuse":
            found.append(snap.terms.unread)
        if snap.feature_set is None:
            found.append("no feature set is published for the model")
        else:
            try:
                self.online.get(snap.feature_set.digest, "")
            except StoreError:
                found.append("the online store cannot be read")
        if not self._journal_works():
            found.append("the journal cannot be written, so no receipt can be given")
        return tuple(found)

    async def looked_up(self, act: Callable[[], T]) -> T:
        """What `act` gives, which looks a receipt up; the event loop is left to others where that may take time."""
        if not self._waits:
            return act()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="receipt")
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)

    def receipt(self, id: str, caller: ApiKey) -> Receipt:
        """The receipt, for whoever got it and for operators. Raises NotFound, also for another caller's."""
        found = self._find(id)
        if found is None or not (found.caller == caller.id or keys.allows(caller, "operate")):
            raise NotFound("there is no receipt with this id", mend="use the `receipt` of an answer")
        return found

    def receipt_shown(self, id: str, caller: ApiKey) -> Receipt | dict[str, Any]:
        """The receipt as the caller may see it: without values of columns marked `pii`, but for role admin."""
        found = self.receipt(id, caller)
        if keys.allows(caller, "admin"):
            return found
        snap = self.view.now
        return (Personal(None) if snap is None else snap.personal).receipt(found)

    def card_receipt(self, id: str, grant: Grant) -> Receipt:
        """The receipt of an answer that was given to this very token. Raises NotFound, also for any other."""
        found = self._find(id)
        given = found is not None and found.caller == grant.caller and found.request.startswith(f"{grant.id}.")
        if found is None or not given or found.key != self._text(grant.key):
            raise NotFound("this card was given no such answer", mend="use the `receipt` of its own answer")
        return found

    def _text(self, key: Key) -> str | None:
        """The key as receipts have it; None where it no longer names what a request must name."""
        snap = self.view.now
        if not isinstance(key, dict):
            return str(key)
        try:
            return None if snap is None else joined_key(key_texts(key, snap.key_columns, "key"))
        except BadRequest:
            return None

    def _find(self, id: str) -> Receipt | None:
        entry = self._journal.get(id)
        if entry is not None:
            return msgspec.msgpack.decode(entry.payload, type=Receipt) if entry.kind == "receipt" else None
        return None if self._archive is None else self._archive(id)

    def tell_of(self, trace: Trace) -> None:
        """Spans for each stage of an answer from now on. For the time before the first request."""
        self.answering = TracedAnswering(self.online, self._journal, self.clock, self.meter, self.tally, trace=trace)

    def save(self) -> None:
        """Writes this worker's counters where every worker finds them, and reads what others took of rates."""
        self.meter.used(self.callers.used())
        outgoing.count(self.view.now.model if self.view.now is not None else None, self.meter.counts)
        self.meter.counts.problem = self.view.problem
        try:
            self.meter.save(self.clock.now_us())
        finally:  # what others took counts also where our own cannot be written
            if self.meters is not None:
                self.rates.look(self.meters)

    def close(self) -> None:
        """Lets go of threads and models; stores are closed by whoever opened them."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self.answering.close()
        self.repeating.close()
        self.view.close()

    def _journal_works(self) -> bool:
        """Whether a record can be begun; after a failed receipt, whether one can be written again."""
        try:
            if not self.answering.journal_problem:
                self._journal.next_id()
                return True
            event = Event(kind="process.journal", at_us=self.clock.now_us(), body={"note": "writing works again"})
            self._journal.append("event", msgspec.msgpack.encode(event))
        except (MainstayError, OSError):
            return False
        self.answering.journal_problem = ""
        return True
