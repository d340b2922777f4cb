"""20 checks at 1 % bad rows, with the identifiers of failing rows, beside Great Expectations and pandera.

    python bench/bench_checks.py [--rows 1000000] [--rounds 3] [--small]

Each tool begins with the table in memory in the form it likes best (Arrow, pandas, polars), its checks read and 1,000
rows judged before, and ends with the failing rows' identifiers, check by check. They are proved equal to the truth
before any figure is printed. Ours is told twice: the gate as a pipeline runs it (staged with digests, cleaned, judged),
and its checks alone over the same Arrow table. Bare polars is no tool for checks: the conditions written by hand, what
they cost at least. `cpu` is the time of all cores, which says more than the clock where other things run as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import checks_table
import pyarrow.parquet as pq
from beside import NotHere, environment, middle, most, run_own, run_peer
from peers.peak import peak_mib

from mainstay.core.nouns import Check, Column, Dataset
from mainstay.core.sql import identifier
from mainstay.pipelines.judge import Gate
from mainstay.pipelines.stage import fill, numbered, shape
from mainstay.quality.checks import BAD, row_checks
from mainstay.quality.frequent import WORTH, costly, eased_all, sample_sql
from mainstay.store.current import Current

PEERS = {
    "great expectations": ("great_expectations", "gx_checks.py"),
    "pandera on pandas": ("pandera", "pandera_checks.py", "pandas"),
    "pandera on polars": ("pandera", "pandera_checks.py", "polars"),
    "bare polars": ("pandera", "pandera_checks.py", "bare"),
}


def dataset() -> Dataset:
    types = {"i": "integer", "n": "number", "w": "string", "c": "string"}
    columns = [Column(name="id", type="integer", source_name="id", required=True)]
    names = ("code", *(f"n{n}" for n in range(8)), *(f"w{n}" for n in range(4)), *(f"i{n}" for n in range(4)))
    columns.extend(Column(name=name, type=types[name[0]], source_name=name) for name in names)  # type: ignore[arg-type]
    times = ("created_at", "updated_at")
    columns.extend(Column(name=name, type="timestamp", source_name=name) for name in times)
    return Dataset(
        name="customers",
        source="crm",
        table="customers",
        key="id",
        columns=tuple(columns),
        checks=tuple(check(one) for one in checks_table.CHECKS),
    )


def check(one: dict[str, Any]) -> Check:
    if one["kind"] == "order":
        args = {"condition": f"{one['column']} <= {one['other']}"}
        return Check(name=one["name"], kind="sql", args=args)
    args = {name: one[name] for name in ("value", "values", "regex") if name in one}
    return Check(name=one["name"], kind=one["kind"], column=one["column"], args=args)


def by_mask(rows: Any, names: list[str]) -> dict[str, list[Any]]:
    """The identifiers check by check, out of a table of identifiers and bit masks of the failing rows."""
    ids, masks = (column.to_numpy() for column in rows.columns)
    return {name: ids[(masks >> place & 1).astype(bool)].tolist() for place, name in enumerate(names)}


def gate(folder: Path) -> dict[str, Any]:
    """The pipeline's own way: `stage`, `judged`, findings, and which rows go to quarantine."""
    table = pq.read_table(folder / "table.parquet")
    kinds = {"i": "integer", "n": "float", "w": "text", "c": "text"}
    known = {name: "timestamp" if name.endswith("_at") else kinds[name[0]] for name in table.column_names}
    own = dataset()
    with tempfile.TemporaryDirectory() as home:
        current = Current(Path(home, "current.duckdb"), threads=2)
        current.ensure(own)
        form = shape(own, known, "UTC")  # type: ignore[arg-type]
        compiled = row_checks(own)
        for part in (table.slice(0, 1000), table):
            began, cpu = time.perf_counter(), time.process_time()
            fill(current, form, reader(part))
            judge = Gate(current, form, row_checks=compiled)
            judgement = judge.judge()
            rows = current.table(f"SELECT _k, _f0 FROM judged WHERE {judge.rejected()}")
            found = by_mask(rows, [one.name for one in judgement.checks])
            seconds, cpu, peak = time.perf_counter() - began, time.process_time() - cpu, peak_mib()
        current.close()
    counted = {one.check: one.failed for one in judgement.findings}
    assert all(counted.get(name, 0) == len(ids) for name, ids in found.items()), counted
    return {"seconds": seconds, "cpu": cpu, "peak_mib": peak, "findings": found}


def reader(table: Any) -> Any:
    import pyarrow as pa

    schema, batches = numbered(table.schema, iter(table.to_batches(max_chunksize=65_536)))
    return pa.RecordBatchReader.from_batches(schema, batches)


def alone(folder: Path) -> dict[str, Any]:
    """The same checks' SQL over the Arrow table, nothing staged and nothing written."""
    table = pq.read_table(folder / "table.parquet")
    own = dataset()
    current = Current(None, threads=2)
    checks = row_checks(own)
    marks = ", ".join(f"FALSE AS {identifier(f'{column.name}{BAD}')}" for column in own.columns)
    for part in (table.slice(0, 1000), table):
        began, cpu = time.perf_counter(), time.process_time()
        current.db.register("frame", part)
        cleaned = f"(SELECT *, {marks} FROM frame)"
        eased = checks
        if part.num_rows >= WORTH:  # as the gate does
            eased = eased_all(checks, current.sql(sample_sql(costly(checks), cleaned)))
        bits = " + ".join(
            f"(CASE WHEN {one.failed_sql} THEN {1 << n} ELSE 0 END)::BIGINT" for n, one in enumerate(eased)
        )
        suspect = " OR ".join(one.failed_sql for one in eased)
        rows = current.table(f"SELECT id, {bits} AS failed FROM {cleaned} WHERE {suspect}")
        found = by_mask(rows, [one.check.name for one in checks])
        seconds, cpu, peak = time.perf_counter() - began, time.process_time() - cpu, peak_mib()
        current.db.unregister("frame")
    current.close()
    return {"seconds": seconds, "cpu": cpu, "peak_mib": peak, "findings": found}


OURS = {"mainstay, the gate": gate, "mainstay, checks": alone}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--small", action="store_true", help="20,000 rows, one round: whether it runs")
    options.add_argument("--alone", action="store_true", help="without the peers")
    options.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        print(json.dumps(OURS[given.child[0]](Path(given.child[1]))))
        return
    rows, rounds = (20_000, 1) if given.small else (given.rows, given.rounds)
    peers = {} if given.alone else dict(PEERS)
    for who, (peer, *_) in list(peers.items()):
        try:
            environment(peer)
        except NotHere as why:
            print(why)
            del peers[who]
    found: dict[str, list[dict[str, Any]]] = {who: [] for who in (*OURS, *peers)}
    with tempfile.TemporaryDirectory(prefix="bench-checks-") as folder:
        checks_table.write(Path(folder, "table.parquet"), rows)
        Path(folder, "checks.json").write_text(json.dumps(checks_table.CHECKS))
        for _ in range(rounds):
            for who in OURS:
                found[who].append(run_own(__file__, "--child", who, folder))
            for who, (peer, script, *more) in peers.items():
                found[who].append(run_peer(peer, script, *more, folder))
    for who, times in found.items():
        for one in times:
            compare(who, one["findings"], checks_table.truth(rows))
    say(rows, found)


def compare(who: str, findings: dict[str, list[Any]], truth: dict[str, list[int]]) -> None:
    for name, wanted in truth.items():
        named = {int(one) for one in findings.get(name, ())}
        if named != set(wanted):
            raise SystemExit(f"{who}: {name} names {len(named)} rows, {len(named ^ set(wanted))} of them otherwise")


def say(rows: int, found: dict[str, list[dict[str, Any]]]) -> None:
    print(f"{len(checks_table.CHECKS)} checks on {rows:,} rows, 1 % bad: all name the same failing rows")
    for who, times in found.items():
        print(f"{who:<20} {middle(times):>8.3f} s   cpu {middle(times, 'cpu'):>7.3f} s   peak {most(times):>6,.0f} MiB")
    for who in (one for one in found if one not in OURS):
        ratios = ", ".join(f"{middle(found[who]) / middle(found[mine]):.1f} ({mine})" for mine in OURS)
        print(f"time, {who} / ours: {ratios}")


if __name__ == "__main__":
    main()
