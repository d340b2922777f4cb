"""Makes this version's saved installation, unless there is one: what a version saved is never changed afterwards."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from mainstay import __version__
from mainstay.app.backup import backup
from mainstay.app.commands import ask
from mainstay.core.clock import SystemClock
from mainstay.serving.reply import Answer, Refusal
from tests.app.shop import RULE, Shop, file_of

HERE = Path(__file__).parent
KEYS = ("person-0001", "person-0002", "person-0003", "person-0004", "nobody")
"""Good, changed, held, erased, and never there."""


def text() -> str:
    """The file of the installation: fresh for longer than any version lives."""
    return file_of(model=RULE).replace("warn: 1h, fail: 2h", "warn: 30000d, fail: 36500d")


def told(answers: list[Answer | Refusal]) -> list[dict[str, Any]]:
    """What must come out again, whatever the clock says."""
    return [
        {"output": getattr(one, "output", None), "as_of": one.as_of, "verdict": one.verdict.name, "reason": one.reason}
        for one in answers
    ]


def make(folder: Path, file: Path) -> dict[str, Any]:
    """An installation with history, quarantine, receipts, an erasure and an open segment; backed up into `file`."""
    shop = Shop(folder, rows=8)
    shop.file.write_text(text())
    shop.apply()
    shop.run()
    shop.exec("UPDATE customers SET tenure = 21 WHERE customer_id = 'person-0002'")
    shop.exec("UPDATE customers SET tenure = 999 WHERE customer_id = 'person-0003'")
    shop.run()
    before = shop.predict(*KEYS)
    ask(shop.place, "flush", {})
    ask(shop.place, "erase", {"key": "person-0004", "reason": "asked"})
    after = shop.predict(*KEYS)
    backup(shop.home, file, clock=SystemClock())
    return {
        "answers": told(after),
        "receipts": [one.receipt for one in (*before, *after)],
        "quarantine": [one["id"] for one in ask(shop.place, "quarantine.list", {})["rows"]],
        "counts": shop.dataset().counts,
    }


def main() -> None:
    """Writes both files."""
    file = HERE / f"{__version__}.tgz"
    socket.gethostname = lambda: "saved"  # where it was made is nobody's business
    with tempfile.TemporaryDirectory() as folder:
        expected = make(Path(folder), file)
    file.with_suffix("").with_name(f"{__version__}.json").write_text(json.dumps(expected, indent=1) + "\n")
    sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
