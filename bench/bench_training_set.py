"""A training set out of a long history: every label joined with what was known at its instant.

    python bench/bench_training_set.py [--labels 100000] [--versions 1000000] [--keys 100000] [--features 50]

History is written once; every round runs in a process of its own, whose peak memory is told. Rows are proved equal to
a plain join by hand on a sample. A peer is one more entry of PEERS: a function that is given the same folder (labels
and versions as Parquet beside the history) and returns what it found of the sample.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from beside import NotHere, environment, run_peer
from peers.peak import peak_mib

from mainstay.core.nouns import Column, Dataset, FeatureView
from mainstay.pipelines import sets
from mainstay.retraining.labels import LabelFile
from mainstay.retraining.training_set import Facts, Options, make
from mainstay.store.history_delta import DeltaHistory

BEGAN_US = 1_735_689_600_000_000
SPAN_US = 365 * 86_400_000_000
BATCHES = 200
SAMPLE = 500


def dataset(features: int) -> Dataset:
    names = [f"f{number}" for number in range(features)]
    return Dataset(
        name="customers",
        source="crm",
        table="customers",
        key="customer_id",
        columns=(
            Column(name="customer_id", type="string", source_name="customer_id"),
            *(Column(name=name, type="number", source_name=name) for name in names),
        ),
    )


def view(features: int) -> FeatureView:
    names = ", ".join(f"f{number}" for number in range(features))
    return FeatureView(name="customer", key="customer_id", sql=f"SELECT customer_id, {names} FROM customers")


def fill(folder: Path, versions: int, keys: int, features: int, labels: int) -> None:
    """Writes the history, batch by batch over a year, and the labels."""
    dice = np.random.default_rng(7)
    history = DeltaHistory(folder / "history")
    each = versions // BATCHES
    writer = pq.ParquetWriter(folder / "versions.parquet", version_schema(features))
    for number in range(1, BATCHES + 1):
        names = [f"C{one:08}" for one in np.sort(dice.choice(keys, each, replace=False))]
        batch = versions_of(dice, number, names, features)
        writer.write_table(batch.select(version_schema(features).names))
        history.append("customers", batch, writer="landing:customers", sequence=number)
        if number % 50 == 0:
            history.compact("customers")
    writer.close()
    at = BEGAN_US + dice.integers(SPAN_US // 10, SPAN_US, labels)
    key = dice.integers(0, keys, labels)
    table = pa.table(
        {
            "customer_id": [f"C{one:08}" for one in key],
            "at": pa.array(at).cast(pa.timestamp("us", "UTC")),
            "left": pa.array(dice.integers(0, 2, labels)),
        }
    )
    pq.write_table(table, folder / "labels.parquet")


def version_schema(features: int) -> pa.Schema:
    numbers = [pa.field(f"c_f{number}", pa.float64()) for number in range(features)]
    return pa.schema([pa.field("key", pa.string()), pa.field("published_us", pa.int64()), *numbers])


def versions_of(dice: Any, number: int, names: list[str], features: int) -> pa.Table:
    rows, known = len(names), BEGAN_US + SPAN_US * number // BATCHES
    same = {"op": "u", "state": "published", "cleaning": "sha256:bench", "raw": "{}", "released": False}
    times = {"event_us": known - 5, "known_us": known, "published_us": known + 1000, "began_us": known - 1000}
    return pa.table(
        {
            "key": names,
            "batch": pa.array(np.full(rows, number, np.int64)),
            "ordinal": pa.array(np.arange(rows)),
            **{name: pa.array([value] * rows) for name, value in same.items()},
            **{name: pa.array(np.full(rows, value, np.int64)) for name, value in times.items()},
            "began_source_us": pa.array(np.full(rows, known - 1000, np.int64)),
            "before_us": pa.array(np.full(rows, known - 2000, np.int64)),
            "reasons": pa.nulls(rows, pa.string()),
            "c_customer_id": names,
            **{f"c_f{feature}": pa.array(dice.standard_normal(rows)) for feature in range(features)},
        }
    )


def ours(folder: Path, features: int) -> dict[str, Any]:
    """Times Mainstay; returns (seconds, rows) and the sample."""
    datasets = {"customers": dataset(features)}
    state = sets.describe_set(view(features), datasets)
    facts = Facts(
        history=DeltaHistory(folder / "history"),
        datasets=datasets,
        feature_set=state,
        forms={},
        settled={},
        evaluations=(),
        now_us=BEGAN_US + 2 * SPAN_US,
        kept_since_us=0,
    )
    wanted = LabelFile(path=folder / "labels.parquet", key="customer_id", at="at", key_types=("string",))
    began = time.perf_counter()
    made = make(facts, wanted, Options(out=folder / "ours.parquet"))
    took = time.perf_counter() - began
    return {"seconds": took, "rows": made.rows, "left_out": made.left_out, "runs": made.runs, "out": "ours.parquet"}


def feast(folder: Path, features: int) -> dict[str, Any]:
    """Feast's join over the same versions, by its own interpreter, which tells its own memory."""
    return run_peer("feast", "feast_join.py", folder, features)


PEERS: dict[str, Callable[[Path, int], dict[str, Any]]] = {"mainstay": ours, "feast": feast}
"""Name -> what it does with the folder: times itself and writes `out` (Parquet: key, at, f0, f1, ...)."""


def check(folder: Path, out: str, features: int) -> int:
    """Compares a sample of labels with a plain look-up, value by value; returns how many were compared."""
    labels = pq.read_table(folder / "labels.parquet").slice(0, SAMPLE).to_pylist()
    wanted = {row["customer_id"] for row in labels}
    known: dict[str, list[tuple[int, tuple[float, ...]]]] = {}
    for batch in pq.ParquetFile(folder / "versions.parquet").iter_batches(columns=None):
        keys = batch.column("key").to_pylist()
        mine = [place for place, key in enumerate(keys) if key in wanted]
        for row in batch.take(pa.array(mine)).to_pylist() if mine else []:
            values = tuple(row[f"c_f{number}"] for number in range(features))
            known.setdefault(row["key"], []).append((row["published_us"], values))
    found = {}
    for row in pq.read_table(
        folder / out, columns=["customer_id", "at", *(f"f{n}" for n in range(features))]
    ).to_pylist():
        if row["customer_id"] in wanted:
            found[row["customer_id"], row["at"]] = tuple(row[f"f{number}"] for number in range(features))
    for row in labels:
        at = int(row["at"].replace(microsecond=0).timestamp()) * 1_000_000 + row["at"].microsecond
        shown = max((one for one in known.get(row["customer_id"], []) if one[0] <= at), default=None)
        if found.get((row["customer_id"], row["at"])) != (shown[1] if shown else None):
            raise SystemExit(f"{out}: a row differs from the plain join at {row['at']}")
    return len(labels)


def compare(folder: Path, rounds: dict[str, list[dict[str, Any]]]) -> None:
    """Ends the benchmark where the two did not join every label with equal values."""
    ours_, theirs = (
        pq.read_table(folder / rounds[peer][0]["out"]).sort_by([("customer_id", "ascending"), ("at", "ascending")])
        for peer in ("mainstay", "feast")
    )
    names = [name for name in theirs.column_names if name != "left"]
    if not ours_.select(names).equals(theirs.select(names)):
        raise SystemExit(f"the rows differ: {ours_.num_rows:,} of mainstay's, {theirs.num_rows:,} of feast's")
    time_, memory = (
        statistics.median(one[what] for one in rounds["feast"])
        / statistics.median(one[what] for one in rounds["mainstay"])
        for what in ("seconds", "peak_mb")
    )
    print(f"all {theirs.num_rows:,} rows are equal; feast / mainstay: time {time_:.2f}, peak memory {memory:.2f}")


def one_round(folder: Path, peer: str, features: int) -> None:
    told = PEERS[peer](folder, features)
    told.setdefault("peak_mb", round(peak_mib()))
    print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--versions", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "PEER"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--small", action="store_true", help="2,000 labels, 20,000 versions, one round: whether it runs"
    )
    parser.add_argument("--alone", action="store_true", help="without the peer")
    given = parser.parse_args()
    if given.one:
        one_round(Path(given.one[0]), given.one[1], given.features)
        return
    if given.small:
        given.labels, given.versions, given.keys, given.rounds = 2_000, 20_000, 2_000, 1
    peers = ["mainstay"]
    if not given.alone:
        try:
            environment("feast")
            peers.append("feast")
        except NotHere as why:
            print(why)
    with tempfile.TemporaryDirectory(prefix="bench-training-") as name:
        folder = Path(name)
        fill(folder, given.versions, given.keys, given.features, given.labels)
        print(f"{given.labels:,} labels, {given.versions:,} versions of {given.keys:,} keys, {given.features} features")
        rounds: dict[str, list[dict[str, Any]]] = {}
        for peer in peers:
            command = [sys.executable, __file__, "--features", str(given.features), "--one", str(folder), peer]
            told = []
            for _ in range(given.rounds):
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                told.append(json.loads(done.stdout.splitlines()[-1]))
            rounds[peer] = told
            equal = check(folder, told[0]["out"], given.features)
            seconds = statistics.median(one["seconds"] for one in told)
            peak = max(one["peak_mb"] for one in told)
            print(f"{peer:<12} {seconds:8.1f} s   peak {peak:,} MB   {told[0]['rows']:,} rows   {equal} rows checked")
        if "feast" in rounds:
            compare(folder, rounds)


if __name__ == "__main__":
    main()
