"""Traces by OpenTelemetry, on request: `mainstay up --trace`, or MAINSTAY_TRACE for any command.

Where they go is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT and the rest). Nothing of it is
imported unless it is asked for.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mainstay.core.errors import Refused
from mainstay.core.trace import NoTrace, Span, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

TRACE = "MAINSTAY_TRACE"
PARENT = "TRACEPARENT"
"""What a process that starts a command says of its own span, in the form of the header."""
_ON, _OFF = {"1", "on", "true", "yes"}, {"", "0", "off", "false", "no"}
_CLOSE_S = 3.0
_HTTP = {
    "http_method": "http.request.method",
    "http_route": "http.route",
    "http_status": "http.response.status_code",
}


def asked(env: Mapping[str, str]) -> bool:
    """Whether traces are wanted. Raises Refused for a value that says neither, and where the library is not there."""
    said = env.get(TRACE, "").strip().lower()
    if said in _OFF:
        return False
    if said not in _ON:
        raise Refused(f"{TRACE} is {said!r}", mend="one of on, off")
    need()
    return True


def need() -> None:
    """Raises Refused where the extra is not installed."""
    for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise Refused(f"traces are asked for, and {name} is not installed", mend="pip install 'mainstay[otel]'")


def open_trace(env: Mapping[str, str], *, integration: str, process: str) -> Trace:
    """Where this process tells of its work; nowhere, unless it is asked to. To be closed."""
    if not asked(env):
        return NoTrace()
    return _Otel(_provider(integration, process), {"traceparent": env.get(PARENT, "")})


def _provider(integration: str, process: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _say_plainly()
    own: dict[str, str | int] = {
        "mainstay.integration": integration,
        "mainstay.process": process,
        "process.pid": os.getpid(),
    }
    if not os.environ.get("OTEL_SERVICE_NAME"):
        own[SERVICE_NAME] = "mainstay"
    provider = TracerProvider(resource=Resource.create({**own}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class _Otel:
    """Spans for an OpenTelemetry collector."""

    def __init__(self, provider: TracerProvider, caller: Mapping[str, str]) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("mainstay")
        self._caller = _parent(caller)

    @contextmanager
    def span(
        self, name: str, *, caller: Mapping[str, str] | None = None, **facts: str | float | bool
    ) -> Iterator[Span]:
        from opentelemetry import trace

        kind = trace.SpanKind.INTERNAL if caller is None else trace.SpanKind.SERVER
        if caller is not None:
            parent = _parent(caller)
        else:  # within a span of ours: its child; else of whoever started this process
            parent = None if trace.get_current_span().get_span_context().is_valid else self._caller
        begun = self._tracer.start_span(name, context=parent, kind=kind, attributes=_named(facts))
        with trace.use_span(begun, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            told = _Told(begun)
            try:
                yield told
            except BaseException as error:
                told.failed(type(error).__name__)
                raise

    def close(self) -> None:
        # A collector that is away is tried again and again: whoever ends us does not wait for it.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True, name="mainstay-trace")
        closing.start()
        closing.join(_CLOSE_S)


class _Told:
    def __init__(self, span: Any) -> None:
        self._span = span

    def note(self, **facts: str | float | bool) -> None:
        self._span.set_attributes(_named(facts))

    def failed(self, why: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, why))


def _parent(caller: Mapping[str, str]) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(dict(caller), context=Context())


def _named(facts: Mapping[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    """OpenTelemetry has words for HTTP; all else is ours."""
    return {_HTTP.get(name, f"mainstay.{name}"): value for name, value in facts.items()}


class _OneLine(logging.Handler):
    """What the library has to say, a line each and without stack traces."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"traces: {record.getMessage().splitlines()[0]}\n")


def _say_plainly() -> None:
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(one, _OneLine) for one in logger.handlers):
        logger.addHandler(_OneLine())
        logger.propagate = False
