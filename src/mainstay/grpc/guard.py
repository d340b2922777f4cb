"""Who may make a call: looked at before any of its message is read, and before it takes anybody's place."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

import grpc
from mainstay.core.records import ApiKey
from mainstay.serving.desk import Desk
from mainstay.serving.faults import Fault
from mainstay.serving.peers import Peer, peer_of_pem
from mainstay.serving.places import FULL, Places
from mainstay.serving.rates import spent
from mainstay.serving.token_rules import cut

OPEN_SECONDS = 5.0
"""How long a call that everybody may make may keep its message back."""
OPEN_MOST = 64
"""How many of them may at once; who has done so longest makes room: nobody without an API key takes a caller's."""
IDLE_SECONDS = 600.0
"""How long a stream may go without a request before it makes room; generous, for its caller is known."""
_NAMES = {"DNS": "peer_dns", "URI": "peer_uri", "email": "peer_email", "IP": "peer_ip"}


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets through who may predict, and everybody to the calls that are open.

    Args:
        desk: Knows the callers.
        refuse: Ends a call with a fault.
        free: Calls that everybody may make.
        places: For the calls of known callers.
        certified: Whether every connection has a certificate.
    """

    def __init__(
        self,
        desk: Desk,
        refuse: Callable[..., Awaitable[None]],
        free: frozenset[str],
        places: Places,
        *,
        certified: bool,
    ) -> None:
        self._desk = desk
        self._refuse = refuse
        self._free = free
        self._places = places
        self._certified = certified
        self._silent: deque[asyncio.Timeout] = deque()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        found = await continuation(details)
        return self._open(found) if details.method in self._free else self._known(found, details)

    def _known(self, found: Any, details: Any) -> Any:
        """The handler of a call for known callers; like each stream, it is entered before any message is read.

        `found`: the one of the service; None where there is no such call.
        """
        token = token_of(details.invocation_metadata)
        streamed = found is not None and found.request_streaming

        async def answered(requests: Any, context: Any) -> AsyncIterator[Any]:
            peer = peer_of_call(context) if token is None and self._certified else None
            caller = await admitted(self._desk, token, peer)
            if isinstance(caller, Fault):
                self._desk.meter.request("grpc", caller.status)
                await self._refuse(context, caller)
                return
            with self._places.one(caller.id) as placed:
                if not placed:
                    self._desk.meter.shed()
                    await self._refuse(context, FULL)
                if found is None:
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such call")
                asked = requests if streamed else await self._message(found, requests, context, self._desk.arrive_s)
                async for each in _answers(found, asked, context):
                    yield each

        deserializer = found.request_deserializer if streamed else None
        serializer = None if found is None else found.response_serializer
        return grpc.stream_stream_rpc_method_handler(answered, deserializer, serializer)

    async def _message(self, found: Any, requests: Any, context: Any, within: float | None = None) -> Any:
        """The message of a call. Ends the call where none comes in time, or it cannot be read."""
        try:
            async with asyncio.timeout(within):
                raw = await anext(aiter(requests)) if within else await self._first(requests)
            return raw if found.request_deserializer is None else found.request_deserializer(raw)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no message came")
        except (DecodeError, StopAsyncIteration):
            await context.abort(grpc.StatusCode.INTERNAL, "the message cannot be read")

    def _open(self, found: Any) -> Any:
        """The handler of a call that everybody may make: nobody keeps it open by saying nothing."""

        async def answered(requests: Any, context: Any) -> AsyncIterator[Any]:
            async for each in _answers(found, await self._message(found, requests, context), context):
                yield each

        return grpc.stream_stream_rpc_method_handler(answered, None, found.response_serializer)

    async def _first(self, requests: Any) -> bytes:
        """The message of a call. Raises TimeoutError where it does not come, or too many others wait for theirs."""
        async with asyncio.timeout(OPEN_SECONDS) as mine:
            self._silent.append(mine)
            if len(self._silent) > OPEN_MOST:
                longest = self._silent.popleft()
                if not longest.expired():
                    longest.reschedule(0)
            try:
                message: bytes = await anext(aiter(requests))
            finally:
                with suppress(ValueError):
                    self._silent.remove(mine)
        return message


async def admitted(desk: Desk, token: bytes | None, peer: Peer | None, *, rated: bool = True) -> ApiKey | Fault:
    """Who asks, with a request of its rate if `rated`; else what it is told."""
    caller = await desk.authenticate(token, peer)
    if isinstance(caller, Fault) or not rated:
        return caller
    taken = desk.take(caller)
    return caller if taken is None or taken.allowed else spent(taken)


async def heard(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    """The requests of a stream, which ends with DEADLINE_EXCEEDED where none comes for long."""
    each = aiter(requests)
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                request = await anext(each)
        except StopAsyncIteration:
            return
        except TimeoutError:
            sentence = f"no request came by this stream for {IDLE_SECONDS:g} s; open another for the next one"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, sentence)
        yield request


async def _answers(found: Any, asked: Any, context: Any) -> AsyncIterator[Any]:
    """What the service's handler answers, one or many. `asked`: its message, or the stream of them."""
    inner = found.stream_stream or found.unary_stream or found.unary_unary
    if found.response_streaming:
        async for each in inner(asked, context):
            yield each
    else:
        yield await inner(asked, context)


def token_of(metadata: Any) -> bytes | None:
    """The API key or token that came with a call, unchecked; None when none did."""
    for name, value in metadata or ():
        data: bytes = value if isinstance(value, bytes) else value.encode("latin-1", "replace")
        if name == "authorization" and data[:7].lower() == b"bearer ":
            return cut(data[7:])
        if name == "x-api-key":
            return cut(data)
    return None


def peer_of_call(context: Any) -> Peer | None:
    """Whose certificate the connection has, as gRPC tells it after verifying it."""
    told = {name: [one.decode("utf-8", "replace") for one in each] for name, each in context.auth_context().items()}
    pem = told.get("x509_pem_cert")
    names = {kind: told.get(field, ()) for kind, field in _NAMES.items()}
    return peer_of_pem(pem[0], next(iter(told.get("x509_subject", ())), ""), names) if pem else None
