"""Runs the `check_*` functions of a script, one by one, and prints how each went. Used by the clients' interpreter."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import traceback
from typing import Any

SETTINGS: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


def run_all(module: dict[str, Any]) -> None:
    found = {}
    for name, check in module.items():
        if not name.startswith("check_"):
            continue
        try:
            done = check()
            if inspect.isawaitable(done):
                asyncio.run(_wait(done))
            found[name] = ""
        except BaseException:
            found[name] = traceback.format_exc(limit=-3)
    print(json.dumps(found))  # noqa: T201 - read by the test


async def _wait(done: Any) -> Any:
    return await done
