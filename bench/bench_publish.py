"""PostgreSQL to published: a first load, and small changes among many keys.

    python bench/bench_publish.py [--rows 1000000] [--rounds 3] [--profile]

Everything is on: landing with fsync, 12 checks at 1 % bad rows, current, feature rows in online, state. PostgreSQL
runs on the same two cores. Each figure is the median of the rounds; every round runs in a process of its own, whose
peak memory is told.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mainstay.core.clock import SystemClock
from mainstay.core.nouns import Check, Cleaning, Column, Cursor, Dataset, Deletes, FeatureView, SourceConfig
from mainstay.pipelines import history, sets
from mainstay.pipelines.run import Runner
from mainstay.sources import open_source
from mainstay.testing.desk import close_desk, integration_of, open_desk
from mainstay.testing.postgres import PostgresServer

NUMBERS = [f"n{i}" for i in range(8)]
WORDS = [f"w{i}" for i in range(5)]
WHOLES = [f"i{i}" for i in range(4)]
PLANS = "ARRAY['Month-to-month','One year','Two year','Fiber optic','No']"
BAD = "CASE WHEN g % 100 = 7 AND {i} = 0 THEN 500"

FILL = f"""
CREATE TABLE customers AS SELECT
  'C' || lpad(g::text, 8, '0') AS customer_id,
  {", ".join(f"round((random() * 1000)::numeric, 2)::float8 AS {n}" for n in NUMBERS)},
  {", ".join(f"({PLANS})[1 + (g + {i}) % 5] AS {w}" for i, w in enumerate(WORDS))},
  {", ".join(f"{BAD.format(i=i)} ELSE (g * {i + 3}) % 100 END AS {w}" for i, w in enumerate(WHOLES))},
  timestamptz '2026-01-01' + g * interval '1 second' AS created_at,
  timestamptz '2026-06-01' + g * interval '1 millisecond' AS updated_at
FROM generate_series(1, ROWS) g
"""


def dataset() -> Dataset:
    columns = [
        Column(
            name="customer_id", type="string", source_name="customer_id", required=True, clean=(Cleaning(kind="trim"),)
        ),
        *(Column(name=n, type="number", source_name=n) for n in NUMBERS),
        *(
            Column(name=w, type="string", source_name=w, clean=(Cleaning(kind="trim"), Cleaning(kind="blank_to_null")))
            for w in WORDS
        ),
        *(Column(name=i, type="integer", source_name=i) for i in WHOLES),
        Column(name="created_at", type="timestamp", source_name="created_at"),
        Column(name="updated_at", type="timestamp", source_name="updated_at"),
    ]
    values = ["Month-to-month", "One year", "Two year", "Fiber optic", "No"]
    checks = [
        Check(name="customer_id.required", kind="required", column="customer_id"),
        Check(name="customer_id.pattern", kind="pattern", column="customer_id", args={"regex": "C[0-9]{8}"}),
        Check(name="i0.max", kind="max", column="i0", args={"value": 120}),
        Check(name="i1.min", kind="min", column="i1", args={"value": 0}),
        *(Check(name=f"{n}.min", kind="min", column=n, args={"value": 0}) for n in NUMBERS[:3]),
        *(Check(name=f"{w}.values", kind="values", column=w, args={"values": values}) for w in WORDS[:3]),
        Check(name="order", kind="sql", args={"condition": "created_at <= updated_at"}),
        Check(name="row_count", kind="row_count", args={"min": 1000}, on_fail="block"),
    ]
    assert len(checks) == 12
    return Dataset(
        name="customers",
        source="crm",
        table="customers",
        key="customer_id",
        columns=tuple(columns),
        checks=tuple(checks),
        cursor=Cursor(column="updated_at", lag_us=0),
        deletes=Deletes(kind="none"),
    )


VIEW = FeatureView(
    name="customer",
    key="customer_id",
    mapping={"customers": "customer_id"},
    sql=f"SELECT customer_id, {', '.join(NUMBERS + WORDS + WHOLES)} FROM customers",
)


def load(url: str) -> dict[str, float]:
    """One first load in this process."""
    folder = Path(tempfile.mkdtemp(prefix="bench-publish-"))
    clock = SystemClock()
    integration = integration_of({"customers": dataset()}, VIEW)
    source = open_source(SourceConfig(name="crm", kind="postgres", options={"url": url}), clock)
    desk = open_desk(folder, integration, {"crm": source}, clock)
    desk.current.db.execute("SET threads = 2")
    sets.add(desk, sets.describe_set(VIEW, integration.datasets))
    try:
        runner = Runner(desk, integration.datasets["customers"])  # as the loop has it, its checks compiled
        began = time.perf_counter()
        result = runner.run()
        seconds = time.perf_counter() - began
        online = sum(desk.online.count(one.digest) for one in desk.live_feature_sets())
        assert result.published + result.quarantined == online, (result, online)
        return {
            "rows": result.read,
            "quarantined": result.quarantined,
            "seconds": seconds,
            "rows_per_s": result.read / seconds,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    finally:
        close_desk(desk)
        source.close()
        shutil.rmtree(folder)


def changes(url: str, rounds: int, changed: int) -> dict[str, float]:
    """Runs of `changed` rows among the table's keys, history on: run start to visible online."""
    folder = Path(tempfile.mkdtemp(prefix="bench-changes-"))
    clock = SystemClock()
    integration = integration_of({"customers": dataset()}, VIEW)
    source = open_source(SourceConfig(name="crm", kind="postgres", options={"url": url}), clock)
    desk = open_desk(folder, integration, {"crm": source}, clock)
    desk.current.db.execute("SET threads = 2")
    sets.add(desk, sets.describe_set(VIEW, integration.datasets))
    runner = Runner(desk, integration.datasets["customers"])
    runner.run()
    import psycopg

    times = []
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            for number in range(rounds):
                connection.execute(
                    "UPDATE customers SET n0 = n0 + 1, updated_at = clock_timestamp() WHERE i1 >= 0 AND customer_id IN "
                    "(SELECT customer_id FROM customers ORDER BY customer_id "
                    f"OFFSET {number * changed % 50_000} LIMIT {changed})"
                )
                began = time.perf_counter()
                result = runner.run()
                times.append(time.perf_counter() - began)
                assert result.landed >= changed * 0.9, result
                if number % 10 == 9:
                    history.flush(desk, "customers")
        return {
            "runs": rounds,
            "p50_ms": statistics.median(times) * 1000,
            "p95_ms": sorted(times)[int(len(times) * 0.95)] * 1000,
        }
    finally:
        close_desk(desk)
        source.close()
        shutil.rmtree(folder)


def once(url: str, what: str, *more: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, "--url", url, *more], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--child", default="")
    options.add_argument("--url", default="")
    options.add_argument("--runs", type=int, default=60)
    options.add_argument("--profile", action="store_true")
    given = options.parse_args()
    if given.child:
        print(json.dumps(load(given.url) if given.child == "load" else changes(given.url, given.runs, 1_000)))
        return
    with PostgresServer() as server:
        sizes = [given.rows // 10, given.rows]
        found = {}
        for rows in sizes:
            database = server.create_database(f"bench{rows}")
            database.exec(FILL.replace("ROWS", str(rows)))
            database.exec("CREATE INDEX ON customers (updated_at)")
            database.exec("ANALYZE customers")
            rounds = [once(database.url, "load") for _ in range(given.rounds)]
            found[rows] = rounds
            rate = statistics.median(one["rows_per_s"] for one in rounds)
            peak = max(one["peak_mib"] for one in rounds)
            print(
                f"first load of {rows:>9,} rows x 20 columns, 12 checks, 1 % bad: {rate:>9,.0f} rows/s, "
                f"peak {peak:,.0f} MiB"
            )
        cost = {rows: statistics.median(one["seconds"] for one in rounds) / rows for rows, rounds in found.items()}
        print(f"cost per row at {sizes[1]:,} rows / at {sizes[0]:,} rows: {cost[sizes[1]] / cost[sizes[0]]:.2f}")
        small = server.create_database("small")
        small.exec(FILL.replace("ROWS", "100000"))
        small.exec("CREATE INDEX ON customers (updated_at)")
        few = once(small.url, "changes", "--runs", str(given.runs))
        print(
            f"1,000 changed rows among 100,000 keys, history on: p50 {few['p50_ms']:.0f} ms, p95 {few['p95_ms']:.0f} ms"
        )


if __name__ == "__main__":
    main()
