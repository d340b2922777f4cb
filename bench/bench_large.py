"""Large tables: what each operation holds in memory, as a table grows.

    python bench/bench_large.py [--rows 1000000] [--labels 100000] [--only load,changes,...] [--keep FOLDER] [--small]

A PostgreSQL table of 20 columns, 12 checks at 1 % bad rows, everything on. Every operation runs in a process of its
own over the folder that the one before it left, and tells its peak resident memory; the bar is 2 GiB at 10 million
rows. `files` does the same with one CSV file, twice: the second time nothing changed. What an operation left is
counted before its figure stands: no version is lost, and current made anew equals the current before it, row by row.

`--keep FOLDER` leaves what was loaded, so that `--only rebuild --keep FOLDER` measures that part again, alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from bench_publish import FILL, VIEW, dataset
from peers.peak import peak_mib

from mainstay.app.profile import profile_dataset
from mainstay.core.clock import DAY, SystemClock
from mainstay.core.nouns import Dataset, Deletes, SourceConfig
from mainstay.core.ports import Source
from mainstay.pipelines import history, sets
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.run import Runner
from mainstay.retraining.labels import LabelFile
from mainstay.retraining.training_set import Facts, Options, make
from mainstay.sources import open_source
from mainstay.store.current import schema_of
from mainstay.testing.desk import close_desk, integration_of, open_desk
from mainstay.testing.postgres import Database, PostgresServer

BAR_MIB = 2048
Said = dict[str, Any]


def contract(kind: str) -> Dataset:
    """The table of `bench_publish`, reconciled; of a folder of files each snapshot is whole."""
    if kind == "files":
        return msgspec.structs.replace(dataset(), table=".", cursor=None, deletes=Deletes(kind="snapshot"))
    return msgspec.structs.replace(dataset(), deletes=Deletes(kind="reconcile", every_us=3600 * DAY))


def opened(folder: Path, url: str, kind: str) -> tuple[Desk, Source]:
    clock = SystemClock()
    folder.mkdir(parents=True, exist_ok=True)
    integration = integration_of({"customers": contract(kind)}, VIEW)
    options = {"url": url} if kind == "postgres" else {"path": f"{url}/*.csv", "settle": "0s", "mode": "snapshot"}
    source = open_source(SourceConfig(name="crm", kind=kind, options=options, timezone="UTC"), clock)
    desk = open_desk(folder, integration, {"crm": source}, clock)
    desk.current.db.execute("SET threads = 2")
    return desk, source


def tally(desk: Desk) -> tuple[Any, ...]:
    """What current says: its rows, those in quarantine, each by number and one digest of all, and versions by state."""
    schema, current = schema_of("customers"), desk.current
    told = "count(*), bit_xor(hash(_k, _batch, _ord, _digest))"
    found = [current.one(f"SELECT {told} FROM {schema}.{table}") for table in ("rows", "quarantine")]
    return (*found, sorted((state, n) for state, n in current.counts("customers").items() if n))


def load(desk: Desk, runner: Runner, _: Path) -> Said:
    sets.add(desk, sets.describe_set(VIEW, desk.integration.datasets))
    result = runner.run()
    assert result.status == "published", result
    (rows, _digest), (rejected, _other), _states = tally(desk)
    assert rows + rejected == result.landed, f"{result.landed} landed, {rows} in current, {rejected} in quarantine"
    return {"rows": result.landed, "quarantined": rejected}


def run(_desk: Desk, runner: Runner, _: Path) -> Said:
    result = runner.run()
    return {"mode": result.mode, "read": result.read, "rows": result.landed}


def reconcile(desk: Desk, runner: Runner, _: Path) -> Said:
    state = msgspec.structs.replace(desk.dataset_state("customers"), reconciled_us=0)
    desk.datasets.put("customers", state, token=desk.token)
    result = runner.run()
    assert result.mode == "reconcile", result
    return {"read": result.read, "rows": result.landed}


def remember(desk: Desk, _runner: Runner, _: Path) -> Said:
    written = 0
    while found := history.flush(desk, "customers"):
        written += found
    return {"rows": written}


def again(desk: Desk, runner: Runner, _: Path) -> Said:
    """Current made anew out of landing."""
    from mainstay.pipelines.rebuild import rebuild

    before = tally(desk)
    with desk.current.transaction():
        rebuild(desk, runner)
    after = tally(desk)
    assert after == before, f"{before} before, {after} after"
    return {"rows": after[0][0], "quarantined": after[1][0]}


def recall(desk: Desk, runner: Runner, _: Path) -> Said:
    """Current made anew out of history: landing keeps only its newest batch."""
    history.trim_landing(desk, "customers", desk.clock.now_us() + 40 * DAY)
    assert len(desk.landing.numbers("customers")) == 1
    return again(desk, runner, _)


def look(desk: Desk, runner: Runner, _: Path) -> Said:
    return {"rows": profile_dataset(desk, runner.dataset.name).rows}


def training_set(desk: Desk, _runner: Runner, folder: Path, labels: int) -> Said:
    now = desk.clock.now_us()
    asked = f"SELECT _k FROM {schema_of('customers')}.rows WHERE NOT _deleted ORDER BY hash(_k) LIMIT {labels}"
    stamp = pa.schema([("customer_id", pa.string()), ("at", pa.timestamp("us", "UTC"))])
    given = 0
    with pq.ParquetWriter(folder / "labels.parquet", stamp) as writer:  # in pieces: the peak is to be the product's
        for batch in desk.current.db.sql(asked).to_arrow_reader(65_536):
            at = pa.array([now] * batch.num_rows, pa.int64()).cast(pa.timestamp("us", "UTC"))
            writer.write_batch(pa.record_batch([batch.column(0).cast(pa.string()), at], schema=stamp))
            given += batch.num_rows
    facts = Facts(
        history=desk.history, datasets=desk.integration.datasets,
        feature_set=desk.live_feature_sets()[0], forms={}, settled={}, evaluations=(),
        now_us=now + DAY, kept_since_us=0,
    )  # fmt: skip
    wanted = LabelFile(path=folder / "labels.parquet", key="customer_id", at="at", key_types=("string",))
    made = make(facts, wanted, Options(out=folder / "ours.parquet"))
    assert made.rows == given, f"{given} labels of keys that are there, {made.rows} rows"
    return {"rows": made.rows}


OPERATIONS: dict[str, Callable[..., Said]] = {
    "load": load, "changes": run, "everything": run, "reconcile": reconcile, "history": remember, "rebuild": again,
    "recall": recall, "profile": look, "training-set": training_set, "files": load, "files again": run,
}  # fmt: skip

BEFORE = {
    "changes": "UPDATE customers SET n0 = n0 + 1, updated_at = clock_timestamp() WHERE customer_id IN "
    "(SELECT customer_id FROM customers ORDER BY customer_id LIMIT 1000)",
    "everything": "UPDATE customers SET n0 = n0 + 1, updated_at = clock_timestamp()",
    "reconcile": "DELETE FROM customers WHERE customer_id IN "
    "(SELECT customer_id FROM customers ORDER BY customer_id DESC LIMIT 1000)",
}
"""What happens to the table before the operation."""

NEED_TABLE = {"load", "changes", "everything", "reconcile", "files"}
"""The operations that read the table, or a copy of it."""


def child(name: str, folder: Path, url: str, labels: int) -> None:
    kind = "files" if name.startswith("files") else "postgres"
    desk, source = opened(folder, url, kind)
    try:
        runner = Runner(desk, desk.integration.datasets["customers"])
        began = time.perf_counter()
        more = {"labels": labels} if name == "training-set" else {}
        said = OPERATIONS[name](desk, runner, folder, **more)
        said |= {"seconds": time.perf_counter() - began, "peak_mib": peak_mib()}
    finally:
        close_desk(desk)
        source.close()
    print(json.dumps(said))


def in_its_own_process(name: str, folder: Path, url: str, labels: int) -> Said:
    done = subprocess.run(
        [sys.executable, __file__, "--child", name, "--keep", str(folder), "--url", url,
         "--labels", str(labels)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"failed": done.stderr[-1500:]}
    found: Said = json.loads(done.stdout.splitlines()[-1])
    return found


def disk_mib(folder: Path) -> float:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / 2**20


def tell(name: str, said: Said, folder: Path) -> None:
    if "failed" in said:
        print(f"{name:14} FAILED\n{said['failed']}", flush=True)
        return
    more = ", ".join(f"{word} {n:,}" if isinstance(n, int) else f"{word} {n}" for word, n in said.items() if word in
                     ("mode", "read", "rows", "quarantined"))  # fmt: skip
    over = "" if said["peak_mib"] < BAR_MIB else f"   OVER {BAR_MIB} MiB"
    rate = said.get("rows", 0) / said["seconds"]
    print(
        f"{name:14} peak {said['peak_mib']:>6,.0f} MiB   {said['seconds']:>7.1f} s   {rate:>9,.0f} rows/s   "
        f"disk {disk_mib(folder):>7,.0f} MiB   {more}{over}",
        flush=True,
    )


def copy_out(url: str, path: Path) -> None:
    import psycopg

    copy = "COPY customers TO STDOUT (FORMAT csv, HEADER)"
    with psycopg.connect(url) as connection, connection.cursor().copy(copy) as pieces, path.open("wb") as file:
        file.writelines(pieces)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--labels", type=int, default=100_000)
    options.add_argument("--only", default=",".join(OPERATIONS))
    options.add_argument("--keep", default="")
    options.add_argument("--small", action="store_true")
    options.add_argument("--child", default="")
    options.add_argument("--url", default="")
    given = options.parse_args()
    if given.child:
        child(given.child, Path(given.keep), given.url, given.labels)
        return
    wanted, rows = given.only.split(","), 20_000 if given.small else given.rows
    base = Path(given.keep or tempfile.mkdtemp(prefix="bench-large-"))
    copy = base / "drop" / "customers.csv"

    def measure(names: list[str], folder: str, url: str, database: Database | None = None) -> None:
        for name in names:
            if database is not None and name in BEFORE:
                database.exec(BEFORE[name])
            tell(name, in_its_own_process(name, base / folder, url, given.labels), base / folder)

    try:
        tables = [one for one in wanted if not one.startswith("files")]
        print(f"{rows:,} rows x 20 columns", flush=True)
        if NEED_TABLE & set(wanted):
            with PostgresServer() as server:
                database = server.create_database("large")
                database.exec(FILL.replace("ROWS", str(rows)))
                database.exec("CREATE INDEX ON customers (updated_at)")
                database.exec("ANALYZE customers")
                measure(tables, "tables", database.url, database)
                if "files" in wanted:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy_out(database.url, copy)
        else:
            measure(tables, "tables", "postgresql://nobody@127.0.0.1:1/none")
        if not given.keep:
            shutil.rmtree(base / "tables", ignore_errors=True)
        for name in [one for one in wanted if one.startswith("files")]:
            if name == "files again" and copy.exists():
                copy.rename(base / "drop" / "again.csv")
            measure([name], "files", str(base / "drop"))
    finally:
        if not given.keep:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
