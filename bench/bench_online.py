"""An online row read by key while the loop publishes: what the API does before it predicts.

    python bench/bench_online.py [--keys 100000] [--rounds 3] [--seconds 10]

One process publishes: batches of 1,000 changed rows, read from PostgreSQL, through the real Runner. Another one reads
random keys from the same file. PostgreSQL runs on the same two cores. Each round also reads while nothing is published.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_publish import FILL, VIEW, dataset

from mainstay.core.clock import SystemClock
from mainstay.core.nouns import SourceConfig
from mainstay.pipelines import sets
from mainstay.pipelines.run import Runner
from mainstay.sources import open_source
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.testing.desk import close_desk, integration_of, open_desk
from mainstay.testing.postgres import PostgresServer

CHANGE = (
    "UPDATE customers SET n0 = n0 + 1, updated_at = clock_timestamp() WHERE customer_id IN "
    "(SELECT customer_id FROM customers ORDER BY customer_id OFFSET %s LIMIT 1000)"
)


def publish(url: str, folder: Path) -> None:
    """Loads the table, says so, publishes for as long as each line on stdin says, and tells how many batches."""
    import psycopg

    clock = SystemClock()
    integration = integration_of({"customers": dataset()}, VIEW)
    source = open_source(SourceConfig(name="crm", kind="postgres", options={"url": url}), clock)
    desk = open_desk(folder, integration, {"crm": source}, clock)
    described = sets.describe_set(VIEW, integration.datasets)
    sets.add(desk, described)
    runner = Runner(desk, integration.datasets["customers"])
    runner.run()
    keys = desk.online.count(described.digest)
    print(json.dumps({"digest": described.digest, "keys": keys}), flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        done = 0
        for line in sys.stdin:
            until, before = time.monotonic() + float(line), done
            while time.monotonic() < until:
                connection.execute(CHANGE.replace("%s", str(done * 1000 % keys)))
                runner.run()
                done += 1
            print(json.dumps({"batches": done - before}), flush=True)
    close_desk(desk)
    source.close()


def read(path: Path, digest: str, keys: int, seconds: float) -> dict[str, float]:
    """Reads random keys; microseconds."""
    online = SqliteOnline(path, writable=False)
    names = [f"C{random.randint(1, keys):08d}" for _ in range(10_000)]
    took: list[int] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name in names[:1000]:
            began = time.perf_counter_ns()
            row = online.get(digest, name)
            took.append(time.perf_counter_ns() - began)
            assert row is not None, name
        random.shuffle(names)
    took.sort()
    online.close()
    return {
        "reads": len(took),
        "p50": took[len(took) // 2] / 1000,
        "p99": took[len(took) * 99 // 100] / 1000,
        "most": took[-1] / 1000,
    }


def child(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def told(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout is not None
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keys", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--child", default="")
    options.add_argument("--url", default="")
    options.add_argument("--folder", type=Path)
    options.add_argument("--digest", default="")
    given = options.parse_args()
    if given.child == "publish":
        publish(given.url, given.folder)
    elif given.child == "read":
        print(json.dumps(read(given.folder / "online.sqlite", given.digest, given.keys, given.seconds)))
    else:
        measure(given.keys, given.rounds, given.seconds)


def measure(keys: int, rounds: int, seconds: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-online-"))
    try:
        with PostgresServer() as server:
            table = server.create_database("online")
            table.exec(FILL.replace("ROWS", str(keys)))
            table.exec("CREATE INDEX ON customers (updated_at); CREATE INDEX ON customers (customer_id)")
            publisher = child("--child", "publish", "--url", table.url, "--folder", str(folder))
            digest = str(told(publisher)["digest"])
            reading = ("--child", "read", "--folder", str(folder), "--digest", digest, "--keys", str(keys))
            alone, together, batches = [], [], 0.0
            for _ in range(rounds):
                alone.append(told(child(*reading, "--seconds", str(seconds / 2))))
                assert publisher.stdin is not None
                publisher.stdin.write(f"{seconds}\n")
                publisher.stdin.flush()
                together.append(told(child(*reading, "--seconds", str(seconds))))
                batches += told(publisher)["batches"]
            publisher.stdin.close()
            publisher.wait()
    finally:
        shutil.rmtree(folder)
    for what, found in (("nothing is published", alone), ("the loop publishes", together)):
        p50, p99 = (statistics.median(one[name] for one in found) for name in ("p50", "p99"))
        reads = sum(one["reads"] for one in found)
        print(f"online row by key while {what}: p50 {p50:.1f} us, p99 {p99:.1f} us ({reads:,.0f} reads)")
    ratio = statistics.median(b["p99"] / a["p99"] for a, b in zip(alone, together, strict=True))
    print(
        f"p99 while publishing / while not: {ratio:.2f}; {batches:.0f} batches of 1,000 rows were published meanwhile"
    )


if __name__ == "__main__":
    main()
