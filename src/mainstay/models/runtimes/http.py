"""A model that somebody else serves, asked over HTTP: the Open Inference Protocol, MLflow's, or a plain JSON service.

Options, as the file says them under `model.http` (docs/models.md), times in microseconds; and

    secrets   placeholder -> its value; without it nothing is asked, because what is secret is not known

What the server does becomes what a failing model does: no answer in time is ModelTimeout, a row that it refuses
ModelRefused, everything else ModelAway. No sentence repeats what was sent, what came, or a header.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core import elsewhere
from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.elsewhere import Network, Number
from mainstay.core.errors import ModelAway, ModelError, ModelRefused, ModelTimeout
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel, Row, RuntimeCapabilities
from mainstay.models.inputs import check_rows, required_of
from mainstay.models.runtimes.http_address import Resolve, resolved, target_of
from mainstay.models.runtimes.http_breaker import Breaker, Budget
from mainstay.models.runtimes.http_protocols import BadReply, Protocol, protocol_of
from mainstay.models.runtimes.http_wire import Failed, Limits, Reply, Wire

ROWS = 100
"""Rows of one request, where the protocol takes several."""
AT_ONCE = 8
"""Requests at a time from each worker: more would lay the server low where it is slow."""
_DEFAULT_US = 30 * SECOND
_PASSING = frozenset({502, 503, 504})
"""Statuses that another try may not get."""
_OF_THE_ROW = frozenset({400, 413, 422})
"""Statuses that speak of what was sent, not of who answers."""


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says; see docs/models.md."""

    url: str
    protocol: str
    model: str = ""
    version: str = ""
    inputs: tuple[str, ...] = ()
    outputs: dict[str, str] = {}
    request: Any = None
    row: Any = None
    answers: str = ""
    tensor: str = ""
    datatype: Number = elsewhere.NUMBER
    headers: dict[str, str] = {}
    ca: str = ""
    network: Network = elsewhere.NETWORK
    connect_timeout: int = elsewhere.CONNECT_US
    read_timeout: int = _DEFAULT_US
    """A file always says it: left out there, it is `model.timeout`."""
    response_limit: int = elsewhere.ANSWER_BYTES
    retries: float = elsewhere.RETRIES
    failures: int = elsewhere.FAILURES
    pause: int = elsewhere.PAUSE_US


class HttpRuntime:
    """See the module for its options."""

    def __init__(self, clock: Clock | None = None, resolve: Resolve = resolved) -> None:
        self._clock = clock or SystemClock()
        self._resolve = resolve

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:  # noqa: ARG002
        """Opens no connection. Raises ModelRefused for options that cannot work."""
        given = dict(options)
        secrets: Callable[[str], str] | None = given.pop("secrets", None)
        try:
            said = msgspec.convert(given, HttpOptions)
        except msgspec.ValidationError as error:
            raise ModelRefused(f"the options of the http model do not fit: {error}") from None
        target = target_of(said.url)
        protocol = protocol_of(said, target.path, signature)
        limits = Limits(connect_us=said.connect_timeout, read_us=said.read_timeout, size=said.response_limit)
        headers, ca = _revealed(said, secrets)
        wire = Wire(target, limits, self._clock, network=said.network, authorities=ca, resolve=self._resolve)
        return HttpModel(wire, protocol, signature, said, headers=headers, clock=self._clock)


class HttpModel:
    """One server, and how it fares."""

    def __init__(
        self,
        wire: Wire,
        protocol: Protocol,
        signature: Signature,
        said: HttpOptions,
        *,
        headers: Mapping[str, str] | None,
        clock: Clock,
    ) -> None:
        self.capabilities = RuntimeCapabilities(blocking=True, batch=ROWS if protocol.several else 1, at_once=AT_ONCE)
        self.build = f"{said.protocol} at {target_of(said.url).origin}"
        self._wire = wire
        self._protocol = protocol
        self._width = len(signature.inputs)
        self._required = required_of(signature)
        self._headers = None if headers is None else {**headers, "Content-Type": "application/json"}
        self._clock = clock
        self._breaker = Breaker(said.failures, said.pause, clock)
        self._budget = Budget(said.retries)
        self._counted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = False

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        if self._closed:
            raise ModelRefused("the model was closed")
        check_rows(rows, self._width, self._required)
        if len(rows) > self.capabilities.batch:
            raise ModelRefused(f"{len(rows)} rows came for one request, which takes {self.capabilities.batch}")
        return self._asked(rows, deadline_us or self._clock.monotonic_us() + _DEFAULT_US) if rows else []

    def present(self) -> bool:
        """Always: whether the server answers is for the policies.

        Were it for readiness, one server's trouble would take every worker out at once, fallbacks and all.
        """
        return True

    def close(self) -> None:
        self._closed = True
        self._wire.close()

    def outgoing(self) -> tuple[str, dict[str, int]]:
        """How the breaker stands, and requests since the last asking by what became of them."""
        with self._lock:
            counted, self._counted = self._counted, Counter()
        return self._breaker.condition, dict(counted)

    def _asked(self, rows: Sequence[Row], deadline_us: int) -> list[tuple[Any, ...]]:
        """One request, and another one where that may help and the budget has one."""
        if self._headers is None:
            raise ModelAway("the secrets of the http model are not known here", mend="apply the file that names them")
        body = self._protocol.request(rows)
        if self._clock.monotonic_us() >= deadline_us:
            raise ModelTimeout("the deadline had passed before the model was asked")
        way = self._breaker.let_through()
        if way == "shut":
            self._count("not_asked")
            raise ModelAway(f"{self.build} failed several times in a row and is left alone for a while")
        try:
            return self._answered(body, len(rows), deadline_us, again=way == "free")
        except ModelError:
            raise
        except BaseException:
            self._breaker.undecided()
            raise

    def _answered(self, body: bytes, count: int, deadline_us: int, *, again: bool) -> list[tuple[Any, ...]]:
        self._budget.pay_in()
        try:
            return self._tried(body, count, deadline_us)
        except Failed as failure:
            again = again and failure.again and self._clock.monotonic_us() < deadline_us
            if not (again and self._budget.take()):
                raise self._failure(failure) from None
        self._count("retried")
        return self._last(body, count, deadline_us)

    def _last(self, body: bytes, count: int, deadline_us: int) -> list[tuple[Any, ...]]:
        try:
            return self._tried(body, count, deadline_us)
        except Failed as failure:
            raise self._failure(failure) from None

    def _failure(self, failure: Failed) -> ModelError:
        """What it becomes for the policies; the breaker is told."""
        self._breaker.failed()
        self._count("late" if failure.late else "failed")
        return (ModelTimeout if failure.late else ModelAway)(failure.sentence, mend=failure.mend)

    def _tried(self, body: bytes, count: int, deadline_us: int) -> list[tuple[Any, ...]]:
        reply = self._wire.exchange(self._protocol.path, self._headers or {}, body, deadline_us)
        if reply.status in _OF_THE_ROW:
            self._breaker.answered()
            self._count("refused")
            raise ModelRefused(f"{self.build} refuses this input (status {reply.status})")
        answers = self._read(reply, count)
        self._breaker.answered()
        self._count("answered")
        return answers

    def _read(self, reply: Reply, count: int) -> list[tuple[Any, ...]]:
        if reply.status != 200:
            what = _STATUSES.get(reply.status // 100, "")
            raise Failed(f"{self.build} answered with status {reply.status}{what}", again=reply.status in _PASSING)
        if reply.encoding.lower() != "identity":
            raise Failed(f"{self.build} answered compressed, which nobody asked for")
        try:
            return self._protocol.answers(reply.body, count)
        except BadReply as error:
            raise Failed(f"{self.build} answered otherwise than the file says: {error}") from None

    def _count(self, what: str) -> None:
        with self._lock:
            self._counted[what] += 1


_STATUSES = {3: ", a redirect, which is not followed"}


def _revealed(said: HttpOptions, secrets: Callable[[str], str] | None) -> tuple[dict[str, str] | None, str]:
    """Headers and certificates with their placeholders replaced; None for the headers where that cannot be done here.

    Raises ModelAway where a placeholder has no value: it may have one later.
    """
    if secrets is None:
        hidden = any("${" in text for text in (*said.headers.values(), said.ca))
        return (None, "") if hidden else (dict(said.headers), said.ca)
    headers = {name: secrets(text) for name, text in said.headers.items()}
    for name, text in headers.items():
        if not (text.isascii() and text.isprintable()):
            raise ModelRefused(f"the header {name} has characters that no header may have")
    return headers, secrets(said.ca)
