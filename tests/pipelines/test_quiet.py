"""DuckDB draws a bar on the screen of a program without a file of its own, as `python -c` is."""

from __future__ import annotations

import subprocess
import sys


def test_duckdb_draws_no_bar_into_somebody_elses_output() -> None:
    program = (
        "from mainstay.store.current import Current\n"
        "print(Current(None).one(\"SELECT current_setting('enable_progress_bar')\")[0])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
