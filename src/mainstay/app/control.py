"""What the control API does, each thing by the function that the command line calls. No transport in here.

Whoever asks is known as on the data plane, by the same code: by an API key or a token of an issuer. Changes are
recorded in the audit under the caller's name, in the transaction of the change.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import Any

from mainstay.app import api_keys, batches, issuers
from mainstay.app.auditing import Wanted, document_of, listed, verified
from mainstay.app.commands import ask_loop, ask_owner, need_loop
from mainstay.app.models import shop, use_model
from mainstay.app.place import Place, opened, read_applied, record_of
from mainstay.app.status import Status, read_status
from mainstay.app.stores import open_state
from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import LeaseOwned, MainstayError, NotFound, Refused
from mainstay.core.ids import keyed_hash, new_id
from mainstay.core.nouns import Integration, Settings
from mainstay.core.nouns_callers import CallersConfig
from mainstay.core.records import Answering, ApiKey, Applied, BatchRecord, ModelVersion, Request, Response
from mainstay.serving import keys
from mainstay.serving.callers import Callers
from mainstay.serving.faults import Fault
from mainstay.serving.key_ring import KeyRing
from mainstay.serving.request import BadRequest
from mainstay.serving.tokens import Tokens
from mainstay.spec.durations import DurationError, parse
from mainstay.store.shelf import ShelfReader

WAIT_US = 20 * SECOND
"""How long the loop is waited for; what is not done by then is done later, and asked for by the request's id."""
READ_US = 5 * SECOND
RETRY_US = 5 * SECOND
"""How long an applied file that could not be read is left alone."""

Body = dict[str, Any]


class NotAllowed(Refused):
    """The caller's role does not suffice."""


class Later(Exception):
    """The loop did not answer in time. No error: the request stands, and is performed once it can be.

    Args:
        request: The id under which the answer will stand for an hour.
    """

    def __init__(self, request: str) -> None:
        super().__init__(request)
        self.request = request


class Control:
    """The control plane of one integration. Safe between threads.

    Args:
        place: The integration.
        clock: Keys end by it.
        wait_us: How long the loop is waited for.
    """

    def __init__(self, place: Place, clock: Clock, *, wait_us: int = WAIT_US) -> None:
        self._place = place
        self._clock = clock
        self._wait_us = wait_us
        self._state = open_state(place.home, quick=True)
        self._lock = threading.Lock()
        self._seen: int | None = None
        self._digest = ""
        self._file: Integration | None = None
        self._failed = ""
        self._failed_us = 0
        self._said = ""
        tokens = Tokens(
            clock, issuers.ask, issuers.Teller(self._state, clock), partial(keyed_hash, place.home.secret())
        )
        self._callers = Callers(KeyRing(self._state), clock, self._config, tokens)

    @property
    def name(self) -> str:
        """The integration's."""
        return self._place.home.integration

    @property
    def served(self) -> bool:
        """Whether the applied file, as it was last seen, lets it be served. Waits for state."""
        self.look()
        if self._file is None:
            return False
        page = self._file.settings.status_page
        return page is None or page.control

    @property
    def arrive_s(self) -> float:
        """Seconds in which a request has to arrive, by the applied file as it was last seen."""
        return (_USUAL if self._file is None else self._file.settings).arrive_within_us / SECOND

    def look(self) -> None:
        """Looks for another applied file. Waits for state; where it does not answer, what is known stays."""
        with suppress(MainstayError):
            self._look()

    async def who(self, token: bytes | None) -> ApiKey | Fault:
        """The caller behind what came with a request, by state as it is now; else what they are told.

        Raises StoreError where state cannot be read: whoever was revoked meanwhile must not get in.
        """
        if token is not None:
            await asyncio.to_thread(self._refresh)
        return await self._callers.authenticate(token)

    def hand(self, caller: ApiKey) -> Hand:
        """What the caller can do, by its own name."""
        return Hand(self._place, self._clock, caller, self._wait_us)

    def close(self) -> None:
        """Closes state."""
        self._state.close()

    def refresh(self) -> None:
        """Looks for keys of issuers that are old or not there. For a thread of its own; it waits for the issuers."""
        self.look()
        self._callers.refresh()

    def _refresh(self) -> None:
        self._look()
        self._callers.ring.refresh()

    def _look(self) -> None:
        """Reads the applied file where it is another.

        One that cannot be read here, for a secret is not there, leaves the one that is known, and is tried again.
        """
        with self._lock:
            seen = self._state.changed()
            if seen == self._seen:
                return
            record = record_of(self._state)
            if record.digest != self._digest and not self._take(record):
                return
            self._seen = seen

    def _take(self, record: Applied) -> bool:
        """Reads an applied file, unless it could not be read a moment ago. Returns whether it was read."""
        now_us = self._clock.monotonic_us()
        if record.digest == self._failed and now_us - self._failed_us < RETRY_US:
            return False
        try:
            self._file = read_applied(record)
        except MainstayError as error:
            self._failed, self._failed_us = record.digest, now_us
            sentence = f"the control API cannot read the applied file, and tries again: {error}"
            if sentence != self._said:
                sys.stderr.write(sentence + "\n")
            self._said = sentence
            return False
        self._digest, self._failed, self._said = record.digest, "", ""
        return True

    def _config(self) -> CallersConfig:
        return _NOBODY if self._file is None else self._file.callers


_NOBODY = CallersConfig()
_USUAL = Settings()


class Hand:
    """One caller's operations. Each may wait: for state, a model that is loaded, or the loop.

    Args:
        place: The integration.
        clock: When it is.
        caller: Who asks; each operation's role was looked at before.
        wait_us: How long the loop is waited for.
    """

    def __init__(self, place: Place, clock: Clock, caller: ApiKey, wait_us: int) -> None:
        self._place = place
        self._clock = clock
        self._caller = caller
        self._wait_us = wait_us

    @property
    def by(self) -> str:
        """The caller, as the audit names it."""
        how, _ = keys.known_by(self._caller.id)
        who = f"{how} {self._caller.id}" if how else f"API key {self._caller.id} ({self._caller.name})"
        return f"{who} on {socket.gethostname()} (control API)"

    # --- what there is -------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """As `mainstay status`."""
        return read_status(self._place, self._clock)

    def models(self) -> Body:
        """As `mainstay model list`."""
        with shop(self._place) as at:
            return {"models": at.registry.versions(), "answering": at.registry.answering()}

    def model(self, number: int) -> ModelVersion:
        """As `mainstay model show`."""
        with shop(self._place) as at:
            return at.registry.get(number)

    def keys(self) -> Body:
        """As `mainstay key list`."""
        return {"keys": [one.document for one in api_keys.listed(self._place)]}

    def quarantine(self, *, dataset: str | None, every: bool, limit: int, personal: bool) -> Body:
        """As `mainstay quarantine list`; personal values for role admin alone. The loop reads it."""
        if personal and not keys.allows(self._caller, "admin"):
            raise NotAllowed("personal values are shown to role `admin` alone", mend="leave out `personal`")
        args = {"dataset": dataset, "limit": limit, "state": None if every else "quarantined", "masked": not personal}
        return ask_loop(self._place, "quarantine.list", args, timeout_us=READ_US)

    def batches(self, *, dataset: str | None, waiting: bool, limit: int) -> Body:
        """As `mainstay batch list`."""
        return {"batches": batches.listed(self._place, dataset, waiting=waiting, limit=limit)}

    def batch(self, dataset: str, number: int) -> BatchRecord:
        """As `mainstay batch show`."""
        return batches.batch(self._place, dataset, number)

    def audit(self, *, what: str, by: str, object: str, since: str, limit: int) -> Body:
        """As `mainstay audit`."""
        since_us = self._clock.now_us() - span_of("since", since) if since else 0
        return {"records": listed(self._place, Wanted(what=what, by=by, object=object, since_us=since_us, limit=limit))}

    def verify(self, head: str) -> Body:
        """As `mainstay audit verify`."""
        return document_of(*verified(self._place, head))

    def request(self, id: str) -> Body:
        """What became of a request that the loop did not answer in time. Raises NotFound, also an hour later."""
        with opened(self._place) as state:
            standing = ShelfReader(state, "request", Request).get(id)
            answer = ShelfReader(state, "response", Response).get(id)  # read last: it takes the request's place
        if answer is None and standing is None:
            raise NotFound("there is no such request", mend="answers stand for an hour after they were given")
        if answer is None:
            return {"request": id, "done": False}
        told: Body = {"request": id, "done": True, "ok": answer.ok}
        return told | ({"answer": answer.body} if answer.ok else {"detail": answer.error, "mend": answer.mend})

    # --- what changes something ----------------------------------------------------------------------------------

    def use(self, number: int) -> Answering:
        """As `mainstay model use`."""
        with shop(self._place) as at:
            return use_model(at, number, by=self.by)

    def create_key(self, *, name: str, role: str, days: int | None, rate: str) -> Body:
        """As `mainstay key create`."""
        made = api_keys.create(self._place, name, role, clock=self._clock, by=self.by, days=days, rate=rate)
        return made.document

    def rotate_key(self, id: str, *, overlap: str, days: int | None) -> Body:
        """As `mainstay key rotate`."""
        overlap_us = span_of("overlap", overlap)
        return api_keys.rotate(self._place, id, overlap_us, clock=self._clock, by=self.by, days=days).document

    def revoke_key(self, id: str) -> ApiKey:
        """As `mainstay key revoke`."""
        return api_keys.revoke(self._place, id, clock=self._clock, by=self.by)

    def order(self, command: str, args: Body) -> Body:
        """Has the loop perform one of `app.commands`, as the command line does.

        Never takes the lease itself: the loop would be kept from it. Raises what the command raised, LoopAway where no
        loop runs, and Later when it did not answer in time: the request then stands and is performed once.
        """
        with opened(self._place) as state:
            need_loop(self._place, state, "it is what performs this")
        request = Request(id=new_id("req"), command=command, args=args, by=self.by, at_us=self._clock.now_us())
        try:
            return ask_owner(self._place, request, LeaseOwned("the loop"), self._wait_us)
        except LeaseOwned:
            raise Later(request.id) from None


def span_of(name: str, said: str) -> int:
    """Microseconds of a span such as `30d`. Raises BadRequest, which names the field."""
    try:
        return parse(said)
    except DurationError as error:
        raise BadRequest(f"`{name}`: wanted {error}", mend=error.mend, where=name) from None
