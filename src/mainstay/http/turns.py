"""The short road: plain predict requests of one key or row, answered with all others of their turn of the event loop.

They go through each stage together, and each is still judged and asked of the model alone. Where there are many, their
callers take turns, and who would have to wait too long is refused at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from mainstay.http import limits, problems, retiring
from mainstay.http.headers import Lines
from mainstay.http.heads import Heads, Said
from mainstay.http.naming import Naming
from mainstay.http.problems import Told, problem_of
from mainstay.serving import keys
from mainstay.serving.answer import NotReady
from mainstay.serving.desk import Desk
from mainstay.serving.inputs import OneRow
from mainstay.serving.peers import Peer
from mainstay.serving.reply import Answer, Batch, Refusal, item
from mainstay.serving.request import BadRequest, PredictRequest, read_predict
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call

WAITED_MOST_US = 25_000
"""How long a plain predict request may wait for those of the same turn of the event loop before it."""
TOGETHER = 32
"""Plain predict requests that go through the stages together, so that the first need not wait for all."""

Answered = Callable[[int, bytes, bytes], None]
"""Takes a reply: status, header lines but the length, body."""
Turn = tuple[PredictRequest | OneRow, Call, Answered]

_PROBLEM = (b"content-type", problems.PROBLEM)
_encode = msgspec.json.Encoder().encode


def predict_path(snap: Snapshot) -> str:
    """Where predictions of the integration are asked for."""
    return f"/v1/{snap.integration.name}/predict"


class Turns:
    """The short road of one worker.

    Args:
        desk: What answers.
        naming: Gives requests their ids.
        busy: What is told to whom there is no time for.
    """

    def __init__(self, desk: Desk, naming: Naming, busy: Told) -> None:
        self._desk = desk
        self._naming = naming
        self._busy = busy
        self._turn: list[Turn] = []
        self._later: set[asyncio.Task[None]] = set()
        self.heads = Heads()
        self._url_of: Snapshot | None = None
        self._url = b""

    @property
    def predict_url(self) -> bytes:
        """The target of a plain predict request; no request has an empty one."""
        snap = self._desk.view.now
        if snap is not self._url_of:
            self._url_of = snap
            self._url = b"" if snap is None or not snap.quick else predict_path(snap).encode()
        return self._url

    @property
    def behind(self) -> bool:
        """Whether requests that were taken are still answered by the long road, while later ones may be quick again."""
        return bool(self._later)

    def take(self, said: Said, body: bytes, answered: Answered, peer: Peer | None = None) -> bool:
        """Takes a plain predict of one key or row, to be answered with all others of this turn of the event loop.

        False, with nothing done, for what the long road must look at: wrong callers, wrong bodies, many keys or rows.
        """
        desk = self._desk
        began_us = desk.clock.monotonic_us()
        caller = None if desk.draining else desk.callers.at_once(said.token, peer)
        if caller is None or not keys.allows(caller, "predict"):
            return False
        named = said.named
        try:
            asked = self._read(body)
            deadline_us = named.deadline_us(began_us) if named.timeout else None
        except BadRequest:
            return False
        if not _alone(asked):
            return False
        taken = desk.take(caller)
        if taken is not None:
            if not taken.allowed:
                return False
            answered = _with(limits.lines(taken), answered)
        going = retiring.lines(desk.view.now)
        if going:
            answered = _with(going, answered)
        request = named.request or self._naming.make()
        self._turn.append((asked, Call(caller.id, request, began_us, named.trace, deadline_us), answered))
        if len(self._turn) == 1:
            asyncio.get_running_loop().call_soon(self.answer)
        return True

    def _read(self, body: bytes) -> PredictRequest | OneRow:
        """The request in `body`, a row laid out at once for the model that answers now. Raises BadRequest."""
        snap = self._desk.view.now
        laid_out = None if snap is None or snap.plan is None else snap.plan.one_row(body)
        return laid_out or read_predict(body)

    def answer(self) -> None:
        """Answers what this turn of the event loop brought; what would have to wait too long is refused at once."""
        turn, self._turn = self._turn, []
        snap = self._desk.view.now
        if snap is not None and not snap.quick:
            # What was quick when these came is so no more: another model answers by now, and takes its time.
            task = asyncio.get_running_loop().create_task(self._answer_later(snap, turn))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
            return
        if len(turn) > TOGETHER:
            turn = _by_turns(turn)
        began_us = self._desk.clock.monotonic_us()
        for start in range(0, len(turn), TOGETHER):
            part = turn[start : start + TOGETHER]
            if self._desk.clock.monotonic_us() - began_us > WAITED_MOST_US:
                for _, call, answered in part:
                    self._desk.meter.shed()
                    answered(self._busy.status, _lines(call.request, self._busy.headers), self._busy.body)
                continue
            for (asked, call, answered), reply in zip(part, self._replies(snap, part), strict=True):
                answered(*self._told(asked, reply, call))

    def _replies(self, snap: Snapshot | None, part: Sequence[Turn]) -> list[Answer | Refusal | Exception]:
        asked = [(request, call) for request, call, _ in part]
        if snap is None:
            return [NotReady("this worker is being closed")] * len(asked)
        try:
            return self._desk.answering.predict_each(snap, asked)
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, each caller gets a problem
            return [error] * len(asked)

    async def _answer_later(self, snap: Snapshot, turn: Sequence[Turn]) -> None:
        """By the long road; in order, for two may have come by one connection."""

        async def reply_to(asked: PredictRequest | OneRow, call: Call) -> Answer | Refusal | Batch | Exception:
            try:
                whole = asked.again() if isinstance(asked, OneRow) else asked
                return await self._desk.answering.predict(snap, whole, call)
            except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a problem
                return error

        replies = await asyncio.gather(*(reply_to(asked, call) for asked, call, _ in turn))
        for (asked, call, answered), reply in zip(turn, replies, strict=True):
            answered(*self._told(asked, reply, call))

    def _told(
        self, asked: PredictRequest | OneRow, reply: Answer | Refusal | Batch | Exception, call: Call
    ) -> tuple[int, bytes, bytes]:
        """Status, header lines but the length, and body."""
        desk = self._desk
        own = isinstance(asked, OneRow) or asked.rows is not msgspec.UNSET
        if own and isinstance(reply, Answer | Refusal):
            reply = Batch([item(reply)])
        if isinstance(reply, Answer | Batch):
            out = _encode(reply)
            desk.meter.predicted(200, desk.clock.monotonic_us() - call.began_us)
            return 200, b"content-type: application/json\r\nx-request-id: %b\r\n" % call.request.encode(), out
        if isinstance(reply, Refusal):
            told, reason = problems.refused(reply, call.request), reply.reason
        else:
            told, reason = problem_of(reply, call.request), ""
        desk.meter.predicted(told.status, desk.clock.monotonic_us() - call.began_us, reason=reason)
        return told.status, _lines(call.request, told.headers), told.body


def _alone(asked: PredictRequest | OneRow) -> bool:
    """Whether it is for one row, or one key without request-time inputs."""
    if isinstance(asked, OneRow):
        return True
    one = isinstance(asked.key, str) or (asked.rows is not msgspec.UNSET and len(asked.rows) == 1)
    return one and asked.inputs is None


def _by_turns(turn: Sequence[Turn]) -> list[Turn]:
    """The same requests, one of each caller in turn: who sends many delays nobody who sends few."""
    lines: dict[str, deque[Turn]] = {}
    for one in turn:
        lines.setdefault(one[1].caller, deque()).append(one)
    if len(lines) == 1:
        return list(turn)
    found = []
    while lines:
        for caller in list(lines):
            found.append(lines[caller].popleft())
            if not lines[caller]:
                del lines[caller]
    return found


def _with(more: Lines, answered: Answered) -> Answered:
    """Takes a reply to which header lines are added."""
    added = b"".join([b"%b: %b\r\n" % each for each in more])
    return lambda status, head, body: answered(status, head + added, body)


def _lines(request: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % each for each in (_PROBLEM, (b"x-request-id", request.encode()), *headers)])
