"""Large tables: what each operation holds in memory, as a table grows.

    python bench/bench_large.py [--rows 1000000] [--only load,changes,...] [--keep FOLDER] [--small]

A PostgreSQL table of 20 columns, 12 checks at 1 % bad rows, everything on. Every operation runs in a process of its
own over the folder that the one before it left, and tells its peak resident memory; the bar is 2 GiB at 10 million
rows. `files` does the same with one CSV file, twice: the second time nothing changed.
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
from mainstay.testing.postgres import PostgresServer

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


def load(desk: Desk, runner: Runner, _: Path) -> Said:
    sets.add(desk, sets.describe_set(VIEW, desk.integration.datasets))
    result = runner.run()
    assert result.status == "published", result
    return {"rows": result.landed}


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

    with desk.current.transaction():
        rebuild(desk, runner)
    return {"rows": desk.current.one(f"SELECT count(*) FROM {schema_of('customers')}.rows")[0]}


def recall(desk: Desk, runner: Runner, _: Path) -> Said:
    """Current made anew out of history: landing keeps only its newest batch."""
    history.trim_landing(desk, "customers", desk.clock.now_us() + 40 * DAY)
    assert len(desk.landing.numbers("customers")) == 1
    return again(desk, runner, _)


def look(desk: Desk, runner: Runner, _: Path) -> Said:
    return {"rows": profile_dataset(desk, runner.dataset.name).rows}


def training_set(desk: Desk, _runner: Runner, folder: Path) -> Said:
    keys = desk.current.table(f"SELECT _k FROM {schema_of('customers')}.rows ORDER BY hash(_k) LIMIT 100000")
    now = desk.clock.now_us()
    at = pa.array([now] * keys.num_rows).cast(pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"customer_id": keys["_k"], "at": at}), folder / "labels.parquet")
    facts = Facts(
        history=desk.history, datasets=desk.integration.datasets,
        feature_set=desk.live_feature_sets()[0], forms={}, settled={}, evaluations=(),
        now_us=now + DAY, kept_since_us=0,
    )  # fmt: skip
    wanted = LabelFile(path=folder / "labels.parquet", key="customer_id", at="at", key_types=("string",))
    made = make(facts, wanted, Options(out=folder / "ours.parquet"))
    return {"rows": made.rows}


OPERATIONS: dict[str, Callable[[Desk, Runner, Path], Said]] = {
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


def child(name: str, folder: Path, url: str) -> None:
    kind = "files" if name.startswith("files") else "postgres"
    desk, source = opened(folder, url, kind)
    try:
        runner = Runner(desk, desk.integration.datasets["customers"])
        began = time.perf_counter()
        said = OPERATIONS[name](desk, runner, folder)
        said |= {"seconds": time.perf_counter() - began, "peak_mib": peak_mib()}
    finally:
        close_desk(desk)
        source.close()
    print(json.dumps(said))


def in_its_own_process(name: str, folder: Path, url: str) -> Said:
    done = subprocess.run(
        [sys.executable, __file__, "--child", name, "--keep", str(folder), "--url", url],
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
                     ("mode", "read", "rows"))  # fmt: skip
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
    options.add_argument("--only", default=",".join(OPERATIONS))
    options.add_argument("--keep", default="")
    options.add_argument("--small", action="store_true")
    options.add_argument("--child", default="")
    options.add_argument("--url", default="")
    given = options.parse_args()
    if given.child:
        child(given.child, Path(given.keep), given.url)
        return
    wanted, rows = given.only.split(","), 20_000 if given.small else given.rows
    base = Path(given.keep or tempfile.mkdtemp(prefix="bench-large-"))
    try:
        with PostgresServer() as server:
            database = server.create_database("large")
            database.exec(FILL.replace("ROWS", str(rows)))
            database.exec("CREATE INDEX ON customers (updated_at)")
            database.exec("ANALYZE customers")
            print(f"{rows:,} rows x 20 columns", flush=True)
            for name in [one for one in wanted if not one.startswith("files")]:
                if name in BEFORE:
                    database.exec(BEFORE[name])
                tell(name, in_its_own_process(name, base / "tables", database.url), base / "tables")
            if "files" in wanted:
                (base / "drop").mkdir(parents=True)
                copy_out(database.url, base / "drop" / "customers.csv")
        if not given.keep:
            shutil.rmtree(base / "tables", ignore_errors=True)
        for name in [one for one in wanted if one.startswith("files")]:
            if name == "files again":
                (base / "drop" / "customers.csv").rename(base / "drop" / "again.csv")
            tell(name, in_its_own_process(name, base / "files", str(base / "drop")), base / "files")
    finally:
        if not given.keep:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
