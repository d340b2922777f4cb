"""Loaded by schemathesis: what JSON Schema cannot say of a request."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis

from mainstay.serving.idempotency import NAME_PATTERN

HEADER = "Idempotency-Key"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """An Idempotency-Key names one request: a good one, made up for several, becomes another for each."""
    if case.headers and re.fullmatch(NAME_PATTERN, str(case.headers.get(HEADER, ""))):
        case.headers[HEADER] = str(uuid.uuid4())
