"""An online row of 50 features by key while 5,000 rows/s are published, beside Feast's SQLite store and its server.

    python bench/bench_online_peers.py [--keys 100000] [--features 50] [--rate 5000] [--seconds 10] [--small]

Ours publishes with everything on: changed rows read from PostgreSQL, landed, checked, current, feature rows, online, as
the loop does it. Feast is given rows that are in memory already, by `write_to_online_store`. What each one really
brought to its store is told beside what was asked. Readers are processes of their own and ask for one key at a time,
until the values stand as numbers in Python; Feast's server is asked over one kept HTTP connection. The same 200 rows
are read from all and equal before any time counts.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beside import SCRIPTS, NotHere, environment, run_peer, variables
from peers.peak import peak_mib

from mainstay.core.clock import SystemClock
from mainstay.core.nouns import Check, Column, Cursor, Dataset, Deletes, FeatureView, SourceConfig
from mainstay.pipelines import sets
from mainstay.pipelines.run import Runner
from mainstay.sources import open_source
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.testing.desk import close_desk, integration_of, open_desk
from mainstay.testing.ports import free_port
from mainstay.testing.postgres import PostgresServer

CHANGE = (
    "UPDATE customers SET f0 = f0 + 1, updated_at = clock_timestamp() "
    "WHERE number >= {first} AND number < {first} + {count}"
)


def names(features: int) -> list[str]:
    return [f"f{number}" for number in range(features)]


def table_sql(keys: int, features: int) -> str:
    """Feature f of key k is k + f / 64."""
    values = ", ".join(f"(g + {f} / 64.0)::float8 AS f{f}" for f in range(features))
    return (
        f"CREATE TABLE customers AS SELECT g AS number, 'C' || lpad(g::text, 8, '0') AS customer_id, {values}, "
        f"timestamptz '2026-06-01' + g * interval '1 millisecond' AS updated_at FROM generate_series(0, {keys - 1}) g"
    )


def view(features: int) -> FeatureView:
    return FeatureView(
        name="customer",
        key="customer_id",
        mapping={"customers": "customer_id"},
        sql=f"SELECT customer_id, {', '.join(names(features))} FROM customers",
    )


def dataset(features: int) -> Dataset:
    return Dataset(
        name="customers",
        source="crm",
        table="customers",
        key="customer_id",
        columns=(
            Column(name="customer_id", type="string", source_name="customer_id", required=True),
            *(Column(name=name, type="number", source_name=name) for name in names(features)),
            Column(name="updated_at", type="timestamp", source_name="updated_at"),
        ),
        checks=tuple(Check(name=f"{n}.min", kind="min", column=n, args={"value": 0}) for n in names(features)[:12]),
        cursor=Cursor(column="updated_at", lag_us=0),
        deletes=Deletes(kind="none"),
    )


def publish(url: str, folder: Path, features: int, rate: int) -> None:
    """Loads the table and says so; then, for each line on stdin, publishes `rate` rows a second for that long."""
    import psycopg

    clock, own = SystemClock(), dataset(features)
    integration = integration_of({"customers": own}, view(features))
    source = open_source(SourceConfig(name="crm", kind="postgres", options={"url": url}), clock)
    desk = open_desk(folder, integration, {"crm": source}, clock)
    described = sets.describe_set(integration.features["customer"], integration.datasets)
    sets.add(desk, described)
    runner = Runner(desk, own)
    runner.run()
    keys = desk.online.count(described.digest)
    print(json.dumps({"digest": described.digest, "keys": keys}), flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        first = 0
        for line in sys.stdin:
            began, done = time.monotonic(), 0
            while (now := time.monotonic() - began) < float(line):
                if now * rate < done:
                    time.sleep(min(done / rate - now, max(0.0, float(line) - now)))
                    continue
                count = min(rate, keys - first)
                connection.execute(CHANGE.format(first=first, count=count))
                done += runner.run().published
                first = (first + count) % keys
            print(json.dumps({"rows": done, "seconds": time.monotonic() - began}), flush=True)
    close_desk(desk)
    source.close()


class Away(Exception):
    """The store did not answer."""


def read(get: Callable[[str], list[float]], keys: int) -> None:
    """Each line on stdin: keys to be answered with their rows, or for how long to read random ones."""
    get("C00000000")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, list):
            print(json.dumps({key: get(key) for key in asked}), flush=True)
            continue
        took, failed, until = [], 0, time.monotonic() + asked
        while time.monotonic() < until:
            key = f"C{random.randrange(keys):08d}"
            began = time.perf_counter_ns()
            try:
                row = get(key)
            except Away:
                failed += 1
                continue
            took.append((time.perf_counter_ns() - began) / 1000)
            assert row[1] is not None, key
        print(json.dumps({"took": took, "failed": failed, "peak_mib": peak_mib()}), flush=True)


def read_ours(path: Path, digest: str, keys: int) -> None:
    import msgspec

    online, numbers = SqliteOnline(path, writable=False), msgspec.json.Decoder(list[float]).decode

    def get(key: str) -> list[float]:
        row = online.get(digest, key)
        assert row is not None, key
        return numbers(row.values)

    read(get, keys)


def read_server(port: int, keys: int, features: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    wanted = [f"customer:{name}" for name in names(features)]

    def get(key: str) -> list[float]:
        body = json.dumps({"features": wanted, "entities": {"customer_id": [key]}})
        connection.request("POST", "/get-online-features", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Away(f"Feast's server said {answer.status}: {text[:300]!r}")
        found = json.loads(text)
        at = {name: place for place, name in enumerate(found["metadata"]["feature_names"])}
        return [found["results"][at[name]]["values"][0] for name in names(features)]

    read(get, keys)


class Child:
    """A process that answers each line with a line of JSON."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )
        self.ready = self.told()

    def say(self, line: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit(f"{' '.join(self.process.args[:3])} ended: {self.process.wait()}")  # type: ignore[index]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.process.kill()
        self.process.wait()


def own(what: str, *arguments: object) -> list[str]:
    return [sys.executable, __file__, "--child", what, *map(str, arguments)]


@contextlib.contextmanager
def serving(python: Path, folder: Path) -> Iterator[int]:
    """Feast's server over the filled store, one worker."""
    port = free_port()
    command = [str(python.parent / "feast"), "-c", str(folder), "serve", "-p", str(port), "--no-access-log"]
    # A worker ends itself after so many requests, and would take the reader's connection with it.
    command += ["--max-requests", "100000000"]
    process = subprocess.Popen(command, env=variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            time.sleep(0.2)
        else:
            raise SystemExit("Feast's server did not come up")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def sample(keys: int) -> list[str]:
    return [f"C{number:08d}" for number in range(0, keys, max(1, keys // 200))][:200]


def check(reader: Child, keys: int, features: int, who: str) -> None:
    wanted = sample(keys)
    reader.say(wanted)
    for key, values in reader.told().items():
        truth = [int(key[1:]) + f / 64 for f in range(features)]
        if values != truth:
            raise SystemExit(f"{who}: the row of {key} is another: {values[:3]}..., {truth[:3]}... is right")


def rounds_of(publisher: Child, readers: dict[str, Child], rounds: int, seconds: float) -> dict[str, list[Any]]:
    """Each reader in turn reads while the publisher publishes, and while it does not."""
    found: dict[str, list[Any]] = {who: [] for who in readers}
    for _ in range(rounds):
        for who, reader in readers.items():
            reader.say(seconds / 2)
            alone = reader.told()
            publisher.say(seconds)
            reader.say(seconds)
            together, published = reader.told(), publisher.told()
            found[who].append({"alone": alone, "together": together, "published": published})
    return found


def measure_ours(given: argparse.Namespace) -> dict[str, list[Any]]:
    folder = Path(tempfile.mkdtemp(prefix="bench-online-"))
    try:
        with PostgresServer() as server:
            database = server.create_database("online")
            database.exec(table_sql(given.keys, given.features))
            database.exec("CREATE INDEX ON customers (updated_at); CREATE INDEX ON customers (number)")
            publisher = Child(own("publish", database.url, folder, given.features, given.rate))
            digest = publisher.ready["digest"]
            reader = Child(own("read", folder / "online.sqlite", digest, given.keys))
            try:
                check(reader, given.keys, given.features, "mainstay")
                return rounds_of(publisher, {"mainstay, in process": reader}, given.rounds, given.seconds)
            finally:
                reader.close()
                publisher.close()
    finally:
        shutil.rmtree(folder)


def measure_feast(python: Path, given: argparse.Namespace) -> dict[str, list[Any]]:
    """In process first and the server after, so that neither stands in the other's way."""
    script, size = str(SCRIPTS / "feast_store.py"), (str(given.keys), str(given.features))
    found: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-feast-") as name:
        filled = run_peer("feast", "feast_store.py", "fill", name, *size)
        print(f"feast: {given.keys:,} keys written in {filled['seconds']:.0f} s", flush=True)
        # Both begin with what was filled in.
        shutil.copy(Path(name, "online.db"), Path(name, "filled.db"))
        for who in ("feast, in process", "feast, its server"):
            shutil.copy(Path(name, "filled.db"), Path(name, "online.db"))
            with contextlib.ExitStack() as stack:
                if who == "feast, in process":
                    reader = Child([str(python), script, "read", name, *size], variables())
                else:
                    port = stack.enter_context(serving(python, Path(name)))
                    reader = Child(own("server", port, *size))
                stack.callback(reader.close)
                publisher = Child([str(python), script, "publish", name, *size, str(given.rate)], variables())
                stack.callback(publisher.close)
                check(reader, given.keys, given.features, who)
                found |= rounds_of(publisher, {who: reader}, given.rounds, given.seconds)
    return found


def figures(rounds: list[Any], when: str) -> tuple[float, float]:
    """p50 and p99 in microseconds: of each round, then the median of them."""
    cut = [sorted(one[when]["took"]) for one in rounds]
    return tuple(statistics.median(took[int(len(took) * share)] for took in cut) for share in (0.5, 0.99))  # type: ignore[return-value]


def say(found: dict[str, list[Any]], rate: int) -> None:
    print("200 rows of each equal the truth")
    for who, rounds in found.items():
        rows = sum(one["published"]["rows"] for one in rounds)
        rows_per_s = rows / sum(one["published"]["seconds"] for one in rounds)
        p50, p99 = figures(rounds, "together")
        quiet50, quiet99 = figures(rounds, "alone")
        reads = sum(len(one["together"]["took"]) for one in rounds)
        print(
            f"{who:<21} while {rows_per_s:,.0f} of {rate:,} rows/s are published: p50 {p50:,.0f} us, p99 {p99:,.0f} us "
            f"({reads:,} reads; while nothing is: {quiet50:,.0f}, {quiet99:,.0f})"
        )
        if failed := sum(one["together"]["failed"] + one["alone"]["failed"] for one in rounds):
            print(f"{who:<21} {failed:,} reads failed: the store was locked or did not answer")
    ours = figures(found["mainstay, in process"], "together")
    for who in list(found)[1:]:
        theirs = figures(found[who], "together")
        print(f"{who} / mainstay, in process: p50 {theirs[0] / ours[0]:.1f}, p99 {theirs[1] / ours[1]:.1f}")


def child(what: str, *arguments: str) -> None:
    if what == "publish":
        publish(arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3]))
    elif what == "read":
        read_ours(Path(arguments[0]), arguments[1], int(arguments[2]))
    else:
        read_server(*(int(one) for one in arguments))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keys", type=int, default=100_000)
    options.add_argument("--features", type=int, default=50)
    options.add_argument("--rate", type=int, default=5_000, help="rows a second")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument(
        "--small", action="store_true", help="1,000 keys, 200 rows a second, two seconds: whether it runs"
    )
    options.add_argument("--alone", action="store_true", help="without the peer")
    given = options.parse_args()
    if given.small:
        given.keys, given.rate, given.rounds, given.seconds = 1_000, 200, 1, 2
    found = measure_ours(given)
    if not given.alone:
        try:
            found |= measure_feast(environment("feast"), given)
        except NotHere as why:
            print(why)
    say(found, given.rate)


if __name__ == "__main__":
    main()
