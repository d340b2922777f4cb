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
        certified: Whether every connection has a certificate.
    """

    def __init__(
        self, desk: Desk, refuse: Callable[..., Awaitable[None]], free: frozenset[str], *, certified: bool
    ) -> None:
        self._desk = desk
        self._refuse = refuse
        self._free = free
        self._certified = certified
        self._silent: deque[asyncio.Timeout] = deque()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        if details.method in self._free:
            return self._open(await continuation(details))
        token = token_of(details.invocation_metadata)
        if token is None and self._certified:
            # Whose connection it is can be asked of the call's context alone, which there is not before its handler.
            return _guarded(await continuation(details), self._admit)
        fault = await self._fault(token, None)
        if fault is None:
            return await continuation(details)

        async def refused(_requests: Any, context: Any) -> AsyncIterator[Any]:
            await self._refuse(context, fault)
            yield None

        return grpc.stream_stream_rpc_method_handler(refused)  # the one kind that waits for no message

    async def _admit(self, context: Any) -> None:
        fault = await self._fault(None, peer_of_call(context))
        if fault is not None:
            await self._refuse(context, fault)

    async def _fault(self, token: bytes | None, peer: Peer | None) -> Fault | None:
        """Why the caller may not come in; None for one who may."""
        found = await admitted(self._desk, token, peer)
        if not isinstance(found, Fault):
            return None
        self._desk.meter.request("grpc", found.status)
        return found

    def _open(self, found: Any) -> Any:
        """The handler of a call that everybody may make: nobody keeps it open by saying nothing."""
        inner = found.unary_stream or found.unary_unary

        async def answered(requests: Any, context: Any) -> AsyncIterator[Any]:
            try:
                request = found.request_deserializer(await self._first(requests))
            except TimeoutError:
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no message came")
            except (DecodeError, StopAsyncIteration):
                await context.abort(grpc.StatusCode.INTERNAL, "the message cannot be read")
            if not found.response_streaming:
                yield await inner(request, context)
                return
            async for each in inner(request, context):
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


def _guarded(found: Any, admit: Callable[[Any], Awaitable[None]]) -> Any:
    """The handler, which is entered, and its message read, once `admit` has let the call in."""
    if found is None:

        async def nothing(_request: Any, context: Any) -> None:
            await admit(context)
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such call")

        return grpc.unary_unary_rpc_method_handler(nothing)
    inner = found.stream_stream or found.unary_stream or found.unary_unary
    if found.response_streaming:

        async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
            await admit(context)
            async for each in inner(request, context):
                yield each

        how = grpc.stream_stream_rpc_method_handler if found.request_streaming else grpc.unary_stream_rpc_method_handler
        return how(streamed, found.request_deserializer, found.response_serializer)

    async def once(raw: bytes, context: Any) -> Any:
        await admit(context)
        try:
            request = raw if found.request_deserializer is None else found.request_deserializer(raw)
        except DecodeError:
            await context.abort(grpc.StatusCode.INTERNAL, "the message cannot be read")
        return await inner(request, context)

    return grpc.unary_unary_rpc_method_handler(once, None, found.response_serializer)


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
