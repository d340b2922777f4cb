"""Answer a request: fetch, judge, predict, record; in that order, and the receipt before the answer.

A key is carried through in one `Work`. `predict_now` does all in the calling thread; `predict` waits for runtimes
that answer from another process without holding the event loop. Stores and the journal are used by one thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from mainstay.core.clock import Clock, iso
from mainstay.core.errors import Corrupt, StoreError
from mainstay.core.ports import Journal, LoadedModel, OnlineReader
from mainstay.serving import judge as judging
from mainstay.serving.asking import ask_one
from mainstay.serving.elsewhere import Elsewhere
from mainstay.serving.hot_rows import HotRows, laid_out
from mainstay.serving.inputs import InputPlan, OneRow
from mainstay.serving.judge import Judgement
from mainstay.serving.judge_views import judge_views
from mainstay.serving.meter import Meter
from mainstay.serving.model_queue import TooLate
from mainstay.serving.receipts import payload
from mainstay.serving.reply import MEND, Answer, Batch, Item, Refusal, item
from mainstay.serving.request import Key, PredictRequest, Together
from mainstay.serving.tally import Tally
from mainstay.serving.view import Snapshot
from mainstay.serving.view_rows import as_one, filled_of, seen_of
from mainstay.serving.work import Call, Work
from mainstay.serving.works import of_key, of_named, of_only, of_rows

CHUNK = 100
"""Keys worked through before other requests get their turn."""
Writable = Callable[[Mapping[str, Any]], None]
"""Raises BadRequest for an output that a door has no way to write."""
_UNSET = msgspec.UNSET
_UNSEEN = "the online store could not be read"


class NotReady(StoreError):
    """Nothing can answer yet: no file applied, or no model version chosen."""

    transient = True


class Answering:
    """The centre of the prediction API, without HTTP.

    Args:
        online: The reader half of the online store.
        journal: Where receipts go; owned by this process.
        clock: For ages, deadlines and latencies.
        meter: Counts what was answered.
        tally: Counts who asks what.
    """

    def __init__(self, online: OnlineReader, journal: Journal, clock: Clock, meter: Meter, tally: Tally) -> None:
        self._rows = HotRows(online)
        self._journal = journal
        self._clock = clock
        self._meter = meter
        self._elsewhere = Elsewhere(clock, meter)
        self._tally = tally
        self.journal_problem = ""
        """Why the last receipt could not be written; empty while they can."""

    def predict_now(self, snap: Snapshot, request: PredictRequest, call: Call) -> Answer | Refusal | Batch:
        """The reply to `request`, computed in the calling thread.

        Raises BadRequest for what does not fit the model, NotReady where nothing can answer.
        """
        plan, model = _usable(snap)
        self._in_time(call)  # it may have waited for a thread
        if request.key is not _UNSET:
            (work,) = self._prepared(snap, plan, [of_key(snap, plan, request.key, request.inputs)])
            self._run(snap, model, (work,))
            return self._finish(snap, work, call)
        works, keys = self._all(snap, plan, request)
        self._run(snap, model, works)
        return Batch([item(self._finish(snap, work, call), key) for work, key in zip(works, keys, strict=True)])

    def predict_each(
        self, snap: Snapshot, asked: Sequence[tuple[PredictRequest | OneRow, Call]]
    ) -> list[Answer | Refusal | Exception]:
        """The replies to several callers, of a key or a row each, stage by stage: each finds its memory in the caches.

        Every one is still judged and asked of the model alone, and one that fails fails alone: its place holds the
        exception. Their receipts are written at once, before any of them is answered.
        """
        plan, model = _usable(snap)
        works: list[Work | Exception] = []
        for request, call in asked:
            try:
                self._let_in(snap, call)
                works.append(of_only(snap, plan, request))
            except Exception as error:  # noqa: BLE001 - strangers stand in this list; the door tells each its own
                works.append(error)
        self._look_up(snap, [work for work in works if isinstance(work, Work) and work.key is not None])
        for place, work in enumerate(works):
            if isinstance(work, Work) and work.key is not None:
                try:
                    self._prepare(snap, plan, work)
                except Exception as error:  # noqa: BLE001 - strangers stand in this list; the door tells each its own
                    works[place] = error
        self._run(snap, model, [work for work in works if isinstance(work, Work)])
        settled: list[tuple[Work, Call]] = []
        for place, (work, (_, call)) in enumerate(zip(works, asked, strict=True)):
            if isinstance(work, Work):
                try:
                    self._settle(snap, work)
                    settled.append((work, call))
                except Exception as error:  # noqa: BLE001 - strangers stand in this list; the door tells each its own
                    works[place] = error
        receipts = iter(self._record_each(snap, settled))
        return [work if isinstance(work, Exception) else self._told(snap, work, next(receipts)) for work in works]

    def _told(self, snap: Snapshot, work: Work, receipt: str | Exception | None) -> Answer | Refusal | Exception:
        return receipt if isinstance(receipt, Exception) else self._reply(snap, work, receipt)

    async def predict(self, snap: Snapshot, request: PredictRequest, call: Call) -> Answer | Refusal | Batch:
        """The same as `predict_now`, leaving the event loop to others while the model works elsewhere."""
        plan, model = _usable(snap)
        self._let_in(snap, call)
        blocking = model.capabilities.blocking
        if snap.integration.settings.durability == "power" and not blocking:
            # Each receipt waits for the disk; requests that wait in threads share one fdatasync.
            return await asyncio.to_thread(self.predict_now, snap, request, call)
        if request.key is not _UNSET:
            if not blocking:
                return self.predict_now(snap, request, call)
            (work,) = self._prepared(snap, plan, [of_key(snap, plan, request.key, request.inputs)])
            await self._run_elsewhere(snap, model, [work], call)
            return self._finish(snap, work, call)
        works, keys = self._all(snap, plan, request)
        results: list[Item] = []
        for start in range(0, len(works), CHUNK):
            part = works[start : start + CHUNK]
            if blocking:
                await self._run_elsewhere(snap, model, part, call, more=len(works) - start - len(part), begun=start > 0)
            else:
                self._run(snap, model, part)
            replies = [self._finish(snap, work, call) for work in part]
            results += [item(reply, key) for reply, key in zip(replies, keys[start : start + CHUNK], strict=True)]
            await asyncio.sleep(0)
        return Batch(results)

    async def predict_together(
        self, snap: Snapshot, asked: Together, call: Call, *, writable: Writable | None = None
    ) -> list[Answer] | Refusal:
        """Answers to all of `asked`, or the first refusal: for protocols that have no error for a row.

        Where one is refused, the receipts of the others say that they were not given either. What is not `writable` by
        the door is found out before there is a receipt of an answer.
        Raises BadRequest for what does not fit the model, NotReady where nothing can answer.
        """
        plan, model = _usable(snap)
        self._let_in(snap, call)
        works = self._laid_out(snap, plan, asked)
        for start in range(0, len(works), CHUNK):
            part = works[start : start + CHUNK]
            if model.capabilities.blocking:
                await self._run_elsewhere(snap, model, part, call, more=len(works) - start - len(part), begun=start > 0)
            else:
                self._run(snap, model, part)
            if len(works) > CHUNK:
                await asyncio.sleep(0)
        if snap.integration.settings.durability == "power":
            return await asyncio.to_thread(self._finish_together, snap, works, call, writable)
        return self._finish_together(snap, works, call, writable)

    def _finish_together(
        self, snap: Snapshot, works: Sequence[Work], call: Call, writable: Writable | None
    ) -> list[Answer] | Refusal:
        judged = [self._settle(snap, work) for work in works]
        refusing = next((place for place, one in enumerate(judged) if one.action == "refuse"), None)
        if refusing is None and writable is not None:
            for work in works:
                writable(work.answer or {})
        if refusing is not None:
            for place, work in enumerate(works):
                if judged[place].action != "refuse":
                    work.judged = judging.judge_beside(judged[place], refusing)
                    work.answer = None
        receipts = self._record_together(snap, works, call)
        replies = [self._reply(snap, work, receipt) for work, receipt in zip(works, receipts, strict=True)]
        refusals = [one for one in replies if isinstance(one, Refusal)]
        if not refusals:
            return [one for one in replies if isinstance(one, Answer)]
        first = next((one for one in refusals if one.reason != "beside"), refusals[0])
        if refusing is None or len(works) == 1:
            return first
        told = f"row {refusing}: {first.sentence}; so no row of this request is answered"
        return msgspec.structs.replace(first, sentence=told)

    def close(self) -> None:
        """Lets go of the threads that wait for models."""
        self._elsewhere.close()

    def _all(self, snap: Snapshot, plan: InputPlan, request: PredictRequest) -> tuple[list[Work], Sequence[Key | None]]:
        """A work for every key or row of the request, each validated before any is judged."""
        if request.rows is not _UNSET:
            works = of_rows(plan, request.rows, "rows")
            return works, [None] * len(works)
        keys: list[Key] = [] if request.keys is _UNSET else list(request.keys)
        sent = plan.check_sent(request.inputs)
        works = [of_named(snap, key, f"keys[{place}]") for place, key in enumerate(keys)]
        for work in works:
            work.sent = sent
        return self._prepared(snap, plan, works), keys

    def _laid_out(self, snap: Snapshot, plan: InputPlan, asked: Together) -> list[Work]:
        """A work for every key or row of `asked`, each key with its own request-time inputs."""
        if not asked.keys:
            return of_rows(plan, asked.rows, asked.where)
        works = []
        for place, key in enumerate(asked.keys):
            work = of_named(snap, key, f"{asked.where}[{place}]")
            work.sent = plan.check_sent(asked.sent[place] if asked.sent else None)
            works.append(work)
        return self._prepared(snap, plan, works)

    def _prepared(self, snap: Snapshot, plan: InputPlan, works: list[Work]) -> list[Work]:
        """Fetches the rows of all of them and lays each out for the model."""
        self._look_up(snap, works)
        for work in works:
            self._prepare(snap, plan, work)
        return works

    def _look_up(self, snap: Snapshot, works: Sequence[Work]) -> None:
        """The rows of all of them, by a look-up for each view. A row that is damaged is unseen, and no other."""
        try:
            self._looked_up(snap, works)
        except Corrupt as error:
            if len(works) == 1:
                self._unseen(snap, works, error)
            else:
                for work in works:
                    Answering._look_up(self, snap, [work])
        except StoreError as error:
            self._unseen(snap, works, error)

    def _looked_up(self, snap: Snapshot, works: Sequence[Work]) -> None:
        if snap.keyed is not None:
            found = [
                self._rows.get_many(view.feature_set.digest, [work.keys[place] for work in works])
                for place, view in enumerate(snap.keyed.views)
            ]
            for work in works:
                hot = [rows.get(key) for rows, key in zip(found, work.keys, strict=True)]
                work.rows = tuple([None if one is None else one.row for one in hot])
                work.row = as_one(work.key or "", work.rows)
        elif snap.feature_set is not None:
            rows = self._rows.get_many(snap.feature_set.digest, [work.key or "" for work in works])
            for work in works:
                work.hot = rows.get(work.key or "")
                work.row = None if work.hot is None else work.hot.row

    def _unseen(self, snap: Snapshot, works: Sequence[Work], error: StoreError) -> None:
        """The online store could not be asked: ERROR, which is not the same as no row."""
        now_us = self._clock.now_us()
        self._meter.unread(len(works), error.sentence, now_us)
        for work in works:
            work.rows, work.row = (), None
            work.unseen = _UNSEEN
            work.now_us = now_us
            work.judged = judging.judge_unseen(snap.terms, _UNSEEN, now_us)

    def _prepare(self, snap: Snapshot, plan: InputPlan, work: Work) -> None:
        """Judges once before the model is asked, so that it is not asked in vain, and lays out its inputs."""
        if work.judged is not None:
            return
        now_us = self._clock.now_us()
        row = work.row
        if not judging.calm(row, snap.terms, now_us):
            judged = judging.judge(row, snap.terms, now_us) if snap.keyed is None else _together(snap, work, now_us)
            if judged.action in ("refuse", "fallback"):
                work.judged = judged
                work.now_us = now_us
                return
        if row is None or row.values is None:
            return
        work.inputs = laid_out(plan, row, work.sent) if work.hot is None else work.hot.inputs(plan, work.sent)
        absent = plan.absent(work.inputs)
        if absent:
            work.error = f"the model requires `{absent}` and the row has none"

    def _run(self, snap: Snapshot, model: LoadedModel, works: Sequence[Work]) -> None:
        """Asks row by row: an answer must not depend on who else asked.

        The rows of a request share one time of a model of this process; each has its own of one that answers elsewhere.
        """
        timeout_us, each = snap.integration.model.timeout_us, model.capabilities.blocking
        deadline_us = self._clock.monotonic_us() + timeout_us
        for work in works:
            if work.inputs is not None and not work.error:
                ask_one(snap, model, work, self._clock.monotonic_us() + timeout_us if each else deadline_us)

    async def _run_elsewhere(
        self,
        snap: Snapshot,
        model: LoadedModel,
        works: Sequence[Work],
        call: Call,
        *,
        more: int = 0,
        begun: bool = False,
    ) -> None:
        """Asks a model of another process, for all rows at once: each call is a way there and back.

        `more`: rows of the same request that follow; `begun`: some went before, so that it is not refused any more.
        Raises Overloaded and TooLate.
        """
        asked = [work for work in works if work.inputs is not None and not work.error]
        await self._elsewhere.ask(snap, model, asked, call, more=more, begun=begun)

    def _let_in(self, snap: Snapshot, call: Call) -> None:
        """Counts the request. Raises ApiRetired and TooLate."""
        self._tally.let_in(snap, call)
        self._in_time(call)

    def _in_time(self, call: Call) -> None:
        """Raises TooLate where the caller waits no longer."""
        if call.deadline_us is not None and self._clock.monotonic_us() >= call.deadline_us:
            raise TooLate

    def _finish(self, snap: Snapshot, work: Work, call: Call) -> Answer | Refusal:
        """Judges at the moment of answering, writes the receipt, and only then makes the reply."""
        self._settle(snap, work)
        return self._reply(snap, work, self._record(snap, work, call))

    def _settle(self, snap: Snapshot, work: Work) -> Judgement:
        """Judges at the moment of answering, and sets what is given."""
        terms = snap.terms
        judged = work.judged
        if judged is None:
            now_us = work.now_us = self._clock.now_us()
            if work.key is None:
                judged = judging.judge_given(terms, now_us)
            elif snap.keyed is None:
                judged = judging.judge(work.row, terms, now_us)
            else:
                judged = _together(snap, work, now_us)
            failed = work.output is None
            if failed and judged.action in ("answer", "flag"):
                work.error = work.error or "the model did not answer"
                judged = judging.judge_error(judged, terms, work.error, now_us)
        work.judged = judged
        work.answer = self._output(snap, work, judged)
        return judged

    def _reply(self, snap: Snapshot, work: Work, receipt: str | None) -> Answer | Refusal:
        """The reply, once its receipt is written."""
        judged, output = work.judged, work.answer
        assert judged is not None
        as_of = _as_of_text(snap, judged)
        age = None if judged.age_us is None else judged.age_us / 1_000_000
        version = snap.version.number if snap.version else 0
        if receipt is None and snap.integration.settings.without_receipt != "answer":
            self._meter.judged("refused", "no_receipt", judged.verdict)
            text = "no receipt can be written, so no answer is given"
            return Refusal(503, "no_receipt", text, MEND["no_receipt"], None, as_of, age, judged.verdict, 5)
        if output is None:
            self._meter.judged("refused", judged.reason, judged.verdict)
            return Refusal(
                judged.status,
                judged.reason,
                judged.sentence,
                MEND[judged.reason],
                receipt,
                as_of,
                age,
                judged.verdict,
                judged.retry_after,
            )
        degraded = judged.action != "answer"
        outcome = "fallback" if judged.action == "fallback" else "answered"
        self._meter.judged(outcome, judged.reason, judged.verdict)
        imputed = _UNSET if work.fed is None or outcome == "fallback" else tuple(work.fed.imputed) or _UNSET
        filled = _UNSET if outcome == "fallback" else filled_of(work.row) or _UNSET
        sentence, verdict = _sentence(snap, judged), judged.verdict
        return Answer(output, receipt, version, as_of, age, verdict, sentence, degraded, judged.reason, imputed, filled)

    @staticmethod
    def _output(snap: Snapshot, work: Work, judged: Judgement) -> dict[str, Any] | None:
        if judged.action == "refuse":
            return None
        if judged.action == "fallback":
            fallback = snap.integration.fallback
            return dict(fallback.values) if fallback else None
        return None if work.output is None else dict(zip(snap.outputs, work.output, strict=True))

    def _record_each(self, snap: Snapshot, works: Sequence[tuple[Work, Call]]) -> list[str | Exception | None]:
        """As `_record`, in one write; where that fails, one by one, so that each is told of its own failure."""
        if len(works) > 1:
            builds = [self._payload(snap, work, call) for work, call in works]
            with suppress(Exception):
                written = self._journal.append_each("receipt", builds)
                self.journal_problem = ""
                return list(written)
        found: list[str | Exception | None] = []
        for work, call in works:
            try:
                found.append(self._record(snap, work, call))
            except Exception as error:  # noqa: BLE001 - strangers stand in this list; the door tells each its own
                found.append(error)
        return found

    def _record_together(self, snap: Snapshot, works: Sequence[Work], call: Call) -> Sequence[str | None]:
        """As `_record`, in one write: all have a receipt, or none has, and then none is answered."""
        try:
            written = self._journal.append_each("receipt", [self._payload(snap, work, call) for work in works])
        except (StoreError, OSError) as error:
            self.journal_problem = error.sentence if isinstance(error, StoreError) else error.strerror or "I/O error"
            return [None] * len(works)
        self.journal_problem = ""
        return written

    def _payload(self, snap: Snapshot, work: Work, call: Call) -> Callable[[str], bytes]:
        return lambda given: payload(given, snap, work, call, self._clock.monotonic_us() - call.began_us)

    def _record(self, snap: Snapshot, work: Work, call: Call) -> str | None:
        """Appends the receipt and returns its id; None where none can be written."""
        try:
            written = self._journal.append_with("receipt", self._payload(snap, work, call))
        except (StoreError, OSError) as error:
            self.journal_problem = error.sentence if isinstance(error, StoreError) else error.strerror or "I/O error"
            return None
        self.journal_problem = ""
        return written


def _together(snap: Snapshot, work: Work, now_us: int) -> Judgement:
    assert snap.keyed is not None
    return judge_views(seen_of(snap.keyed, work.rows), snap.terms, now_us)


def _usable(snap: Snapshot) -> tuple[InputPlan, LoadedModel]:
    if snap.plan is None or snap.model is None:
        raise NotReady("no model version answers yet", mend="mainstay model use N")
    return snap.plan, snap.model


def _as_of_text(snap: Snapshot, judged: Judgement) -> str | None:
    if judged.as_of_us is None:
        return None
    return snap.as_of_text if judged.as_of_us == snap.terms.as_of_us else iso(judged.as_of_us)


def _sentence(snap: Snapshot, judged: Judgement) -> str:
    """Why the answer is not plain; with a fallback, what it is too."""
    fallback = snap.integration.fallback
    if judged.action == "fallback" and fallback is not None and fallback.reason:
        return f"{judged.sentence}; answered with the fallback ({fallback.reason})"
    return judged.sentence
