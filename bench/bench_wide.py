"""Wide tables: a table of 500 columns on the whole road, by the commands that a person types.

    python bench/bench_wide.py [--columns 500] [--rows 200000] [--small]

A SQLite file with columns of every type, 100 checks, every column a feature, a rule over 50 of them. Every command
runs in a process of its own, which tells its peak resident memory. What a run landed is counted before its figure
stands: every row that moved, each published or in quarantine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests import wide

CHILD = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from mainstay.cli.main import run; "
    "from peers.peak import peak_mib; code = run(sys.argv[1:]); print(f'\\npeak {peak_mib():.0f}'); sys.exit(code)"
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--columns", type=int, default=500)
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--small", action="store_true")
    given = options.parse_args()
    columns, rows = (100, 500) if given.small else (given.columns, given.rows)
    folder = Path(tempfile.mkdtemp(prefix="bench-wide-"))
    try:
        with closing(sqlite3.connect(folder / "old.db")) as connection, connection:
            connection.execute(wide.create(columns))
            connection.executemany(f"INSERT INTO wide VALUES ({', '.join('?' * columns)})", wide.rows(columns, rows))
        file = folder / "mainstay.yaml"
        file.write_text(wide.file(columns, "{kind: sqlite, path: old.db, timezone: UTC}"))
        print(f"{columns} columns x {rows:,} rows", flush=True)
        for name, moved, *command in (
            ("check", 0, "check"), ("apply", 0, "apply", "--yes"), ("first load", rows, "run", "--json"),
            ("1,000 changes", min(rows, 1000), "run", "--json"), ("predict", 1, "predict", "K0000001", "--json"),
            ("profile", 0, "profile", "wide"), ("new", 0, "new", str(folder / "made"), "--from", "old.db", "--yes"),
        ):  # fmt: skip
            if name == "1,000 changes":
                with closing(sqlite3.connect(folder / "old.db")) as connection, connection:
                    connection.execute(f"UPDATE wide SET i000 = 5, changed = changed + {rows} WHERE rowid <= 1000")
            tell(folder, name, moved, [*command, *([] if name == "new" else ["--file", str(file)])])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def counted(name: str, said: str, moved: int) -> None:
    # DuckDB shows its progress before it, since a Python that runs `-c` looks as if somebody typed.
    (result,) = json.JSONDecoder().raw_decode(said, said.index("{"))[0]["results"]
    landed, published, rejected = (result[each] for each in ("landed", "published", "quarantined"))
    if landed != moved or published + rejected != moved:
        raise SystemExit(f"{name}: {moved} rows moved, {landed} landed, {published} published, {rejected} quarantined")


def tell(folder: Path, name: str, moved: int, command: list[str]) -> None:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent), *command],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    peak = [line for line in done.stdout.splitlines() if line.startswith("peak ")]
    if not peak or done.returncode not in (0, 1):  # 1: a verdict
        raise SystemExit(f"{name}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    if command[0] == "run":
        counted(name, done.stdout, moved)
    rate = f"{moved / seconds:>9,.0f} rows/s" if moved > 1 else " " * 16
    print(f"{name:14} {seconds:>7.1f} s  {rate}   peak {int(peak[-1].split()[1]):>6,} MiB", flush=True)


if __name__ == "__main__":
    main()
