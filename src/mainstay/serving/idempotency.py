"""A request that names itself (Idempotency-Key) is done once: asked again, it is given the very same answer.

Kept are answers, and refusals that were judged and recorded. Of what did not fit or failed on our side nothing is
kept: nothing was done that a second request could do twice.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Literal

from mainstay.core.clock import HOUR, MINUTE, SECOND, Clock
from mainstay.core.errors import StoreError
from mainstay.core.ids import new_id
from mainstay.core.ports import Repeat, Repeats

KEPT_US = 24 * HOUR
"""How long an answer can be asked for again."""
HELD_US = 30 * SECOND
"""How long a name stays taken by a request whose process died, beside what the model may take for all its rows."""
TURNS = 11
"""Times that a request may wait for the model: 1,000 keys in parts of 100, and one for luck."""
DONE = frozenset((200, 201))
REFUSED = frozenset((404, 409, 410))
"""Statuses of refusals that are kept, where they were judged: of the others a later try may be answered."""
NAME_MOST = 255
NAME_PATTERN = r'^(?:"[ -~]{1,255}"|[!#-~](?:[ -~]{0,253}[!-~])?)$'
"""The header with a name in it: quoted, or bare."""
_SWEEP_US = MINUTE
_SWEEP_AFTER = 500
"""Answers after which a worker sweeps, however short ago it did."""


class BadName(Exception):
    """The header cannot be read; the text says what was wanted."""


class Begun:
    """A request that is now to be done."""

    __slots__ = ("payload", "ticket")

    def __init__(self, ticket: str, payload: bytes) -> None:
        self.ticket = ticket
        self.payload = payload


class Repeating:
    """Who asked what under which name. For threads, not for an event loop: a store may have to be waited for.

    Args:
        open_repeats: Opens the store, when the first such request comes.
        clock: For how long things are kept.
    """

    def __init__(self, open_repeats: Callable[[], Repeats], clock: Clock) -> None:
        self._open = open_repeats
        self._clock = clock
        self._lock = threading.Lock()
        self._repeats: Repeats | None = None
        self._finished = 0
        self._due_us = 0

    def begin(self, caller: str, name: bytes, payload: bytes, timeout_us: int) -> Begun | Repeat | Literal["other"]:
        """A request to be done; or what stands of the first: its answer, or status 0 while it is being made.

        `other` where the name was used for another request. Raises StoreError: then nothing can be promised.

        Args:
            caller: The API key's id: names of different callers do not meet.
            name: What the caller calls the request.
            payload: What is asked: path and body.
            timeout_us: How long the model may take.
        """
        now_us = self._clock.now_us()
        asked = hashlib.sha256(payload).digest()
        begun = Begun(new_id("i"), asked)
        found = self._store().begin(
            caller,
            hashlib.sha256(name).digest(),
            asked,
            ticket=begun.ticket,
            at_us=now_us,
            until_us=now_us + HELD_US + TURNS * timeout_us,
        )
        if found is None:
            return begun
        return found if found.payload == asked else "other"

    def finish(self, begun: Begun, status: int, kind: str, body: bytes, *, judged: bool) -> None:
        """Keeps the answer, to be done before its first byte leaves; or forgets the request, so that it may come again.

        `judged`: whether there is a receipt of a refusal. Raises StoreError.
        """
        store, now_us = self._store(), self._clock.now_us()
        if status not in DONE and not (judged and status in REFUSED):
            store.release(begun.ticket)
            return
        answer = Repeat(payload=begun.payload, status=status, kind=kind, body=body)
        store.finish(begun.ticket, answer, until_us=now_us + KEPT_US)
        with self._lock:
            self._finished += 1
            due = now_us >= self._due_us or self._finished >= _SWEEP_AFTER
            if due:
                self._finished, self._due_us = 0, now_us + _SWEEP_US
        if due:
            store.sweep(now_us)

    def close(self) -> None:
        """Closes the store if it was opened."""
        with self._lock:
            found, self._repeats = self._repeats, None
        if found is not None:
            found.close()

    def _store(self) -> Repeats:
        with self._lock:
            if self._repeats is None:
                self._repeats = self._open()
            return self._repeats


def nowhere() -> Repeats:
    """The store of a worker that has none."""
    raise StoreError("this worker keeps no answers")


def read_name(value: bytes) -> bytes:
    """The name out of the header: a quoted string as the draft has it, or bare. Raises BadName."""
    text = value.strip()
    if text[:1] == b'"':
        if len(text) < 2 or text[-1:] != b'"':
            raise BadName("the closing quote is missing")
        text = text[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\")
    if not 0 < len(text) <= NAME_MOST:
        raise BadName(f"wanted 1 to {NAME_MOST} characters, found {len(text)}")
    if any(not 32 <= byte < 127 for byte in text):
        raise BadName("wanted printable ASCII")
    return text
