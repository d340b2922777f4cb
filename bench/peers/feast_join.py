"""Feast's point-in-time join over Parquet, as `bench_training_set` has it. Run by Feast's own interpreter.

    feast_join.py FOLDER FEATURES

FOLDER holds labels.parquet (customer_id, at, left) and versions.parquet (key, published_us, c_f0, c_f1, ...). Feast's
own copy of the versions and its registry are made before the clock starts: the join alone is timed, from the labels in
pandas to the joined frame, and its memory is this process's. `feast.parquet` (customer_id, at, left, f0, f1, ...) is
written after; a label that no version was known for is not in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float64
from feast.value_type import ValueType
from peak import peak_mib

SETTINGS = """
project: bench
provider: local
registry: registry.db
offline_store: {type: file}
entity_key_serialization_version: 3
"""


def prepare(folder: Path, features: int) -> None:
    """The versions as Feast wants them, and what it is to know of them."""
    home = folder / "feast"
    home.mkdir(exist_ok=True)
    (home / "feature_store.yaml").write_text(SETTINGS)
    file = pq.ParquetFile(folder / "versions.parquet")
    names = [f"f{number}" for number in range(features)]
    writer = None
    for batch in file.iter_batches():
        at = batch.column("published_us").cast(pa.timestamp("us", "UTC"))
        columns = [batch.column("key"), at, *(batch.column(f"c_{name}") for name in names)]
        table = pa.table(columns, names=["customer_id", "event_timestamp", *names])
        writer = writer or pq.ParquetWriter(home / "versions.parquet", table.schema)
        writer.write_table(table)
    if writer:
        writer.close()
    entity = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="customer",
        entities=[entity],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=str(home / "versions.parquet"), timestamp_field="event_timestamp"),
    )
    FeatureStore(repo_path=str(home)).apply([entity, view])


def join(folder: Path, features: int) -> dict[str, object]:
    store = FeatureStore(repo_path=str(folder / "feast"))
    names = [f"f{number}" for number in range(features)]
    labels = pq.read_table(folder / "labels.parquet").rename_columns({"at": "event_timestamp"}).to_pandas()
    began = time.perf_counter()
    joined = store.get_historical_features(labels, features=[f"customer:{name}" for name in names]).to_df()
    seconds, peak = time.perf_counter() - began, peak_mib()
    table = pa.Table.from_pandas(joined, preserve_index=False).rename_columns({"event_timestamp": "at"})
    table = table.set_column(table.column_names.index("at"), "at", table["at"].cast(pa.timestamp("us", "UTC")))
    known = table.filter(pc.is_valid(table["f0"])).select(["customer_id", "at", "left", *names])
    pq.write_table(known, folder / "feast.parquet")
    left_out = table.num_rows - known.num_rows
    return {
        "seconds": seconds,
        "peak_mb": round(peak),
        "peak_mib": peak,
        "rows": known.num_rows,
        "left_out": left_out,
        "out": "feast.parquet",
    }


def main(folder: str, features: str, *only: str) -> None:
    if only == ("prepare",):
        prepare(Path(folder), int(features))
        return
    if not Path(folder, "feast").exists():
        # In a process of its own, so that its memory is not told as the join's.
        subprocess.run([sys.executable, __file__, folder, features, "prepare"], check=True, stdout=sys.stderr)
    print(json.dumps(join(Path(folder), int(features))))


if __name__ == "__main__":
    main(*sys.argv[1:])
