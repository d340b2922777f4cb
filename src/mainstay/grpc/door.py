"""The gRPC door: the Open Inference Protocol's service and gRPC's own health service, on the worker's event loop.

Authentication is the outermost layer: a call is looked at by `Guard` before any of its message is read.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc.aio

import grpc
from mainstay import __version__
from mainstay.app.closing import connected, stop_listening
from mainstay.app.tls import Secured
from mainstay.core.clock import SECOND
from mainstay.core.errors import MainstayError
from mainstay.core.ids import new_id
from mainstay.grpc import tensors
from mainstay.grpc.guard import OPEN_MOST, Guard, admitted, heard, peer_of_call, token_of
from mainstay.grpc.messages import kind
from mainstay.serving import addressing, infer
from mainstay.serving.desk import Desk
from mainstay.serving.faults import Fault, fault_of, unforeseen
from mainstay.serving.places import Places
from mainstay.serving.reply import Refusal
from mainstay.serving.request import BadRequest
from mainstay.serving.retirement import told as told_of
from mainstay.serving.work import Call

OIP = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
OPEN = frozenset((f"/{OIP}/ServerLive", f"/{OIP}/ServerReady", f"/{HEALTH}/Check", f"/{HEALTH}/Watch"))
"""Calls that need no API key: whether something is alive, and ready."""
MESSAGE_MOST = 1024 * 1024
OPENED = 2
"""Calls that one connection may have open, as a multiple of a worker's places.

Without this gRPC takes as many as come and keeps an answer for each, also for who reads none. More than the places, so
that a caller with one connection is still refused at once where it has no place.
"""
CONNECTION_SECONDS = 5
"""How long a connection is used, about; then its client is told to take another, and what was begun goes on.

gRPC cancels calls that arrive as a server stops. So a worker that stops takes no new connection, and waits until its
old ones have gone this way. Clients are also spread over the workers anew, those of one that was restarted among them.
"""
_LOOK_SECONDS = 1.0
_WAIT_SECONDS = 0.1
_LOOKS = 2
"""How often no connection must be found in a row: one may just be on its way from the system to the library."""
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_SERVICES = ("", OIP)

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    410: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    424: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP status -> gRPC status; every other is INTERNAL."""

Metadata = tuple[tuple[str, str], ...]


class GrpcDoor:
    """The service of one worker.

    Args:
        desk: What answers.
        report: Where a line for the operator goes.
        waiting: How many calls may be begun at once before callers who have their share of them are UNAVAILABLE.
    """

    def __init__(self, desk: Desk, report: Callable[[str], None], waiting: int = 256) -> None:
        self._desk = desk
        self._report = report
        self._waiting = waiting
        self._boot = new_id("g")[:8]
        self._numbers = itertools.count(1)
        self._server: grpc.aio.Server | None = None
        self._port = 0
        self._leaving = False
        self._watching: dict[asyncio.Event, None] = {}
        """Who watches our health, the first first; each is woken to be let go."""

    async def start(self, address: str, secured: Secured | None = None) -> int:
        """Listens on `host:port`, which other workers may share. Returns the port. Raises OSError where it cannot."""
        peers = secured is not None and secured.clients_required
        options = (
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", MESSAGE_MOST),
            ("grpc.max_metadata_size", 16 * 1024),
            ("grpc.max_concurrent_streams", OPENED * self._waiting),
            ("grpc.max_connection_age_ms", CONNECTION_SECONDS * 1000),
            ("grpc.server_handshake_timeout_ms", int(self._desk.arrive_s * 1000)),
        )
        guard = Guard(self._desk, self._refuse, OPEN, Places(self._waiting), certified=peers)
        # gRPC's own bound does not ask who calls: it is there for memory alone.
        server = grpc.aio.server(interceptors=(guard,), options=options, maximum_concurrent_rpcs=4 * self._waiting)
        server.add_generic_rpc_handlers((_service(OIP, self._oip()), _service(HEALTH, self._health())))
        try:
            if secured is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, _credentials(secured))
        except RuntimeError as error:
            raise OSError(f"nothing can listen on {address}") from error
        await server.start()
        self._server = server
        self._port = int(port)
        return self._port

    async def stop(self, grace_seconds: float) -> None:
        """Takes nothing new, and lets what was begun come to its end for so long."""
        self._leaving = True
        for one in self._watching:
            one.set()
        if self._server is not None:
            loop = asyncio.get_running_loop()
            end = loop.time() + grace_seconds
            stop_listening(self._port)
            gone = 0
            while loop.time() < end and gone < _LOOKS:
                gone = 0 if connected(self._port) else gone + 1
                await asyncio.sleep(_WAIT_SECONDS)
            await self._server.stop(max(0.0, end - loop.time()))
            self._server = None

    def _oip(self) -> dict[str, grpc.RpcMethodHandler]:
        unary = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            "RepositoryIndex": self._index,
        }
        found = {name: _unary(name, self._told(act)) for name, act in unary.items()}
        found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=kind("ModelInferRequest").FromString,
            response_serializer=kind("ModelStreamInferResponse").SerializeToString,
        )
        for name in NOT_DONE:
            found[name] = grpc.unary_unary_rpc_method_handler(_not_done)
        return found

    def _health(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Check": _unary("HealthCheck", self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch,
                request_deserializer=kind("HealthCheckRequest").FromString,
                response_serializer=kind("HealthCheckResponse").SerializeToString,
            ),
        }

    def _told(self, act: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        """The call, whose failures become gRPC statuses."""

        async def call(request: Any, context: Any) -> Any:
            context.set_trailing_metadata(self._going())
            try:
                return await act(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a status
                await self._refuse(context, self._fault_of(error))

        return call

    def _fault_of(self, error: Exception) -> Fault:
        """What a caller is told of anything that was raised."""
        if isinstance(error, MainstayError):
            return fault_of(error)
        self._report(unforeseen(error, "over gRPC"))
        return Fault(code="internal", status=500, detail="the operator finds the cause in the log")

    def _going(self) -> Metadata:
        """What is told beside each answer where the API version is retired."""
        snap = self._desk.view.now
        return () if snap is None or snap.integration.retired is None else told_of(snap.integration.retired)

    async def _refuse(self, context: Any, fault: Fault, metadata: Metadata = ()) -> None:
        if fault.status != 401:  # strangers are told nothing
            metadata = (*metadata, *self._going())
        if fault.successor:
            metadata = (*metadata, ("mainstay-successor", fault.successor))
        if fault.retry_after is not None:
            metadata = (*metadata, ("retry-after", str(fault.retry_after)))
            metadata = (*metadata, ("grpc-retry-pushback-ms", str(fault.retry_after * 1000)))
        await context.abort(CODES.get(fault.status, grpc.StatusCode.INTERNAL), _text(fault), metadata)

    # --- calls -------------------------------------------------------------------------------------------------------

    @staticmethod
    async def _live(_request: Any, _context: Any) -> Any:
        return kind("ServerLiveResponse")(live=True)

    async def _ready(self, _request: Any, _context: Any) -> Any:
        return kind("ServerReadyResponse")(ready=not self._desk.not_ready())

    async def _model_ready(self, request: Any, _context: Any) -> Any:
        return kind("ModelReadyResponse")(ready=addressing.ready(self._desk, request.name, request.version))

    @staticmethod
    async def _server_metadata(_request: Any, _context: Any) -> Any:
        return kind("ServerMetadataResponse")(name="mainstay", version=__version__)

    async def _model_metadata(self, request: Any, _context: Any) -> Any:
        snap = addressing.here(self._desk, request.name, request.version)
        found = addressing.described(snap)
        message = kind("ModelMetadataResponse")(name=found.name, versions=found.versions, platform=found.platform)
        for into, infos in ((message.inputs, found.inputs), (message.outputs, found.outputs)):
            for one in infos:
                into.add(name=one.name, datatype=one.datatype, shape=one.shape)
        return message

    async def _index(self, request: Any, _context: Any) -> Any:
        message = kind("RepositoryIndexResponse")()
        for one in addressing.index(self._desk):
            if one.state == "READY" or not request.ready:
                message.models.add(name=one.name, version=one.version, state=one.state, reason=one.reason)
        return message

    async def _infer(self, request: Any, context: Any) -> Any:
        reply = await self._answered(request, context)
        if isinstance(reply, Refusal):
            await self._refuse(context, _fault(reply), _metadata(reply))
        return reply

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Each request of a stream is answered in turn; one that fails is told in its place and ends nothing."""
        told = kind("ModelStreamInferResponse")
        context.set_trailing_metadata(self._going())
        rated = False  # the first one was, as the call was let in
        async for request in heard(requests, context):
            try:
                reply = await self._answered(request, context, rated=rated)
            except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a sentence
                sentence = _text(self._fault_of(error))
                reply = told(error_message=sentence, infer_response=tensors.refused(request, {}))
            else:
                if isinstance(reply, Refusal):
                    sentence, named = _text(_fault(reply)), tensors.refused(request, _provenance(reply))
                    reply = told(error_message=sentence, infer_response=named)
                else:
                    reply = told(infer_response=reply)
            rated = True
            yield reply

    async def _answered(self, request: Any, context: Any, *, rated: bool = False) -> Any:
        """The answer, or why there is none. `rated`: whether the caller's rate is still to be asked for it."""
        desk = self._desk
        began_us = desk.clock.monotonic_us()
        left_s = context.time_remaining()
        deadline_us = None if left_s is None else began_us + int(left_s * SECOND)
        request_id = f"{self._boot}-{next(self._numbers):x}"
        caller = await self._caller(context, rated=rated)
        call = Call(caller, request_id, began_us, deadline_us=deadline_us, door="grpc")
        status, reason = 500, ""
        try:
            snap = await addressing.addressed(desk, request.model_name, request.model_version)
            asked = tensors.read(request)
            laid_out, call = infer.laid_out(snap, asked), infer.hurried(call, asked)
            reply = await desk.answering.predict_together(
                snap, laid_out, call, writable=lambda output: infer.refuse_null(snap, asked, output)
            )
            if isinstance(reply, Refusal):
                status, reason = reply.status, reply.reason
                return reply
            told = tensors.written(infer.replied(snap, asked, reply))
            status = 200
        except MainstayError as error:
            status = fault_of(error).status
            raise
        finally:
            desk.meter.predicted(status, desk.clock.monotonic_us() - began_us, reason=reason)
        return told

    async def _caller(self, context: Any, *, rated: bool) -> str:
        """Who asks, looked at again for each request of a call. Raises BadRequest for who may not any more."""
        token = token_of(context.invocation_metadata())
        found = await admitted(self._desk, token, None if token is not None else peer_of_call(context), rated=rated)
        if isinstance(found, Fault):
            raise BadRequest(found.detail, mend=found.mend, status=found.status)
        return found.id

    # --- health ------------------------------------------------------------------------------------------------------

    async def _check(self, request: Any, context: Any) -> Any:
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return kind("HealthCheckResponse")(status=self._standing())

    async def _watch(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        """The standing, and each change of it, until this worker leaves, or too many others came to watch."""
        mine, before = asyncio.Event(), 0
        self._watching[mine] = None
        if len(self._watching) > OPEN_MOST:
            next(iter(self._watching)).set()
            del self._watching[next(iter(self._watching))]
        try:
            while not (self._leaving or mine.is_set()):
                now = self._standing() if request.service in _SERVICES else _SERVICE_UNKNOWN
                if now != before:
                    before = now
                    yield kind("HealthCheckResponse")(status=now)
                with suppress(TimeoutError):
                    await asyncio.wait_for(mine.wait(), _LOOK_SECONDS)
        finally:
            self._watching.pop(mine, None)

    def _standing(self) -> int:
        return _NOT_SERVING if self._desk.not_ready() else _SERVING


NOT_DONE = (
    "ModelConfig", "ModelStatistics", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister", "CudaSharedMemoryStatus", "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister", "TraceSetting", "LogSettings",
)  # fmt: skip
"""Calls of Triton's clients that nothing here does."""


async def _not_done(_request: Any, context: Any) -> None:
    text = "this call is not supported; model versions are added and switched by `mainstay model`"
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)


def _service(name: str, handlers: dict[str, grpc.RpcMethodHandler]) -> Any:
    return grpc.method_handlers_generic_handler(name, handlers)


def _unary(name: str, act: Callable[[Any, Any], Awaitable[Any]]) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        act,
        request_deserializer=kind(f"{name}Request").FromString,
        response_serializer=kind(f"{name}Response").SerializeToString,
    )


def _credentials(secured: Secured) -> grpc.ServerCredentials:
    """Asked anew for each connection. gRPC asks a client for the certificate that it must have, or for none."""

    def now() -> Any:
        pems = secured.pems
        ca = pems.client_ca if secured.clients_required else None
        return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], ca)

    return grpc.dynamic_ssl_server_credentials(now(), now, secured.clients_required)


def _text(fault: Fault) -> str:
    return "; ".join(part for part in (fault.detail, fault.mend) if part)


def _fault(refusal: Refusal) -> Fault:
    return Fault(
        code=refusal.reason,
        status=refusal.status,
        detail=refusal.sentence,
        mend=refusal.mend,
        retry_after=refusal.retry_after,
    )


def _metadata(refusal: Refusal) -> Metadata:
    """Where a refusal comes from."""
    told = _provenance(refusal)
    return tuple((f"mainstay-{name.replace('_', '-')}", str(value)) for name, value in told.items())


def _provenance(refusal: Refusal) -> dict[str, str | float]:
    told = {
        "receipt": refusal.receipt,
        "reason": refusal.reason,
        "verdict": refusal.verdict.value,
        "as_of": refusal.as_of,
        "age_seconds": refusal.age_seconds,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}
