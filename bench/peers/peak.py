"""The peak memory of this process. Needs nothing but Python, so that a peer's interpreter can read it too."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_mib() -> float:
    """MiB. Linux counts a new process's `ru_maxrss` from its parent's, so there VmHWM is read."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
