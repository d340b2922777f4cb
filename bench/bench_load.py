"""PostgreSQL to a local table, beside dlt into DuckDB.

    python bench/bench_load.py [--rows 1000000] [--rounds 3] [--backends connectorx] [--small]

dlt extracts and loads, and nothing else. Ours has everything on: landing with fsync, cleaning, 12 checks at 1 % bad
rows, quarantine, current and feature rows in online. PostgreSQL runs on the same cores. Row counts and a checksum that
ties every value to its row are equal to PostgreSQL's own before any time counts. Every round runs in a process of its
own; the rounds of all are taken in turn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_publish import FILL, NUMBERS, VIEW, WHOLES, WORDS, dataset
from beside import NotHere, environment, middle, most, run_own, run_peer
from peers.peak import peak_mib

from mainstay.core.clock import SystemClock
from mainstay.core.nouns import SourceConfig
from mainstay.pipelines import sets
from mainstay.pipelines.run import Runner
from mainstay.sources import open_source
from mainstay.testing.desk import close_desk, integration_of, open_desk
from mainstay.testing.postgres import PostgresServer

BACKENDS = ("default", "pyarrow", "connectorx")
"""dlt's: the default is `sqlalchemy`; which of the others is fastest is measured here."""


def checksum(engine: str) -> str:
    """A query of numbers that are equal for equal tables: each value times the row's number, summed per column."""
    row = "CAST(substr(customer_id, 2) AS BIGINT)"
    ms = "(extract(epoch FROM {0}) * 1000)::bigint" if engine == "postgres" else "epoch_ms({0})"
    sums = [
        *(f"{row} * CAST(round({name} * 100) AS BIGINT)" for name in NUMBERS),
        *(f"{row} * (ascii({name}) + length({name}))" for name in WORDS),
        *(f"{row} * {name}" for name in WHOLES),
        *(f"{row} * ({ms.format(name)} % 1000003)" for name in ("created_at", "updated_at")),
    ]
    return f"SELECT count(*), {', '.join(f'sum({one})' for one in sums)} FROM FROM_HERE"


def ours(url: str) -> dict[str, Any]:
    """One first load in this process. What is in quarantine is part of what was loaded."""
    folder = Path(tempfile.mkdtemp(prefix="bench-load-"))
    clock = SystemClock()
    integration = integration_of({"customers": dataset()}, VIEW)
    source = open_source(SourceConfig(name="crm", kind="postgres", options={"url": url}), clock)
    desk = open_desk(folder, integration, {"crm": source}, clock)
    desk.current.db.execute("SET threads = 2")
    sets.add(desk, sets.describe_set(VIEW, integration.datasets))
    try:
        runner = Runner(desk, integration.datasets["customers"])
        began = time.perf_counter()
        result = runner.run()
        seconds, peak = time.perf_counter() - began, peak_mib()
        assert sum(desk.online.count(one.digest) for one in desk.live_feature_sets()) == result.read
        names = ", ".join(column.name for column in dataset().columns)
        both = f"(SELECT {names} FROM ds_customers.rows UNION ALL SELECT {names} FROM ds_customers.quarantine)"
        found = desk.current.one(checksum("duckdb").replace("FROM_HERE", both))
    finally:
        close_desk(desk)
        source.close()
        shutil.rmtree(folder)
    return {
        "seconds": seconds,
        "peak_mib": peak,
        "checksum": [int(one) for one in found],
        "quarantined": result.quarantined,
    }


def theirs(url: str, backend: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-dlt-") as folder:
        return run_peer("dlt", "dlt_load.py", url, backend, folder, checksum("duckdb"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--small", action="store_true", help="20,000 rows, one round: whether it runs")
    options.add_argument("--backends", nargs="*", choices=BACKENDS, default=BACKENDS, help="dlt's default takes long")
    options.add_argument("--alone", action="store_true", help="without the peer")
    options.add_argument("--child", default="")
    given = options.parse_args()
    if given.child:
        print(json.dumps(ours(given.child)))
        return
    rows, rounds = (20_000, 1) if given.small else (given.rows, given.rounds)
    backends = () if given.alone else given.backends
    try:
        environment("dlt")
    except NotHere as why:
        print(f"{why}; ours alone follows")
        backends = ()
    with PostgresServer() as server:
        database = server.create_database("bench")
        database.exec(FILL.replace("ROWS", str(rows)))
        database.exec("CREATE INDEX ON customers (updated_at)")
        database.exec("ANALYZE customers")
        (truth,) = database.exec(checksum("postgres").replace("FROM_HERE", "customers"))
        found: dict[str, list[dict[str, Any]]] = {"mainstay": [], **{f"dlt {one}": [] for one in backends}}
        for _ in range(rounds):
            found["mainstay"].append(run_own(__file__, "--child", database.url))
            for backend in backends:
                found[f"dlt {backend}"].append(theirs(database.url, backend))
    for who, times in found.items():
        for one in times:
            if one["checksum"] != [int(number) for number in truth]:
                raise SystemExit(f"{who} loaded something else: {one['checksum']}, PostgreSQL says {truth}")
    say(rows, found)


def say(rows: int, found: dict[str, list[dict[str, Any]]]) -> None:
    print(f"{rows:,} rows x 20 columns: row counts and checksums of all equal PostgreSQL's")
    for who, times in found.items():
        what = f"everything on, {times[0]['quarantined']:,} in quarantine" if who == "mainstay" else "load alone"
        print(f"{who:<16} {rows / middle(times):>10,.0f} rows/s   peak {most(times):>6,.0f} MiB   {what}")
    mine, peers = found["mainstay"], {who: times for who, times in found.items() if who != "mainstay"}
    for who, times in peers.items():
        ratio, memory = middle(times) / middle(mine), most(times) / most(mine)
        print(f"rows/s, mainstay / {who}: {ratio:.2f}; peak memory, {who} / mainstay: {memory:.2f}")
    if peers:
        print(f"dlt's fastest here: {min(peers, key=lambda who: middle(peers[who]))}")


if __name__ == "__main__":
    main()
