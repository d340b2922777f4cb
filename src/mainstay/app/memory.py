"""A process that moves much now and then, and waits between, holds no more memory than it needs."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping

_DELTA = "_RJEM_MALLOC_CONF"
"""Read by the allocator of Delta's library (jemalloc, `opt.*` of its manual) when it is loaded."""


def modest(env: Mapping[str, str]) -> dict[str, str]:
    """What a process is to be started with, so that the allocator of Delta's library gives back what it freed.

    By itself it keeps an arena for each of its threads, and freed pages until it is next asked for some, which may be
    an hour later: after its hourly compaction the loop held 75 MiB more than before. Whoever has set the variable
    knows why.
    """
    return {_DELTA: env.get(_DELTA, "narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0,background_thread:true")}


def give_back() -> None:
    """Hands to the system what this process has freed, where the C library knows how (glibc's malloc_trim)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
