"""How a model that is served elsewhere is asked where the file does not say: read by its shape and by the runtime."""

from __future__ import annotations

from typing import Literal

from mainstay.core.clock import SECOND

Network = Literal["public", "private", "loopback"]
"""The farthest in that a name may lead: to public addresses alone, to private ones too, or to this machine as well."""
Number = Literal["FP64", "FP32", "FP16"]
"""How numbers are sent by the Open Inference Protocol."""

NETWORK: Network = "private"
NUMBER: Number = "FP64"
CONNECT_US = SECOND
ANSWER_BYTES = 1_000_000
RETRIES = 0.2
FAILURES = 5
PAUSE_US = 5 * SECOND
