"""Feast's SQLite online store: fill it, read it in process, publish into it. Run by Feast's own interpreter.

`fill`, `read` and `publish` each tell one line of JSON for each line on stdin (read and publish: for how many seconds).
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float64
from feast.value_type import ValueType
from peak import peak_mib

SETTINGS = """
project: bench
provider: local
registry: registry.db
online_store: {type: sqlite, path: online.db}
offline_store: {type: file}
entity_key_serialization_version: 3
"""
CHUNK = 5_000


def names(features: int) -> list[str]:
    return [f"f{number}" for number in range(features)]


def frame(first: int, count: int, features: int, added: float) -> pd.DataFrame:
    """Keys from `first` on; feature f of key k is k + f / 64 (+ `added` for f0)."""
    keys = pd.RangeIndex(first, first + count).to_numpy()
    columns: dict[str, Any] = {f"f{f}": keys + f / 64 for f in range(features)}
    columns["f0"] = columns["f0"] + added
    return pd.DataFrame({"customer_id": [f"C{k:08d}" for k in keys], "at": datetime.now(UTC), **columns})


def fill(folder: Path, keys: int, features: int) -> dict[str, Any]:
    (folder / "feature_store.yaml").write_text(SETTINGS)
    frame(0, 1, features, 0).to_parquet(folder / "rows.parquet")
    store = FeatureStore(repo_path=str(folder))
    entity = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="customer",
        entities=[entity],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Float64) for name in names(features)],
        source=FileSource(path=str(folder / "rows.parquet"), timestamp_field="at"),
    )
    store.apply([entity, view])
    began = time.perf_counter()
    for first in range(0, keys, CHUNK):
        store.write_to_online_store("customer", frame(first, min(CHUNK, keys - first), features, 0))
    return {"seconds": time.perf_counter() - began, "peak_mib": peak_mib()}


def publish(folder: Path, keys: int, features: int, rate: int) -> None:
    """`rate` rows each second, one batch after the other; tells how many it brought to the store."""
    store, round_, first = FeatureStore(repo_path=str(folder)), 0, 0
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        began, done = time.monotonic(), 0
        while (now := time.monotonic() - began) < float(line):
            if now * rate < done:
                time.sleep(min(done / rate - now, max(0.0, float(line) - now)))
                continue
            count = min(rate, keys - first)
            store.write_to_online_store("customer", frame(first, count, features, round_ + 1))
            first = (first + count) % keys
            done, round_ = done + count, round_ + 1
        print(json.dumps({"rows": done, "seconds": time.monotonic() - began}), flush=True)


def read(folder: Path, keys: int, features: int) -> None:
    """Random keys, one at a time; a line of stdin that names keys is answered with their rows."""
    store = FeatureStore(repo_path=str(folder))
    wanted = [f"customer:{name}" for name in names(features)]

    def get(key: str) -> dict[str, Any]:
        return dict(store.get_online_features(features=wanted, entity_rows=[{"customer_id": key}]).to_dict())

    get("C00000000")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, list):
            rows = {key: get(key) for key in asked}
            print(
                json.dumps({key: [row[f"f{f}"][0] for f in range(features)] for key, row in rows.items()}), flush=True
            )
            continue
        took, failed, until = [], 0, time.monotonic() + asked
        while time.monotonic() < until:
            key = f"C{random.randrange(keys):08d}"
            began = time.perf_counter_ns()
            try:
                row = get(key)
            except sqlite3.OperationalError:
                failed += 1
                continue
            took.append((time.perf_counter_ns() - began) / 1000)
            assert row["f1"][0] is not None, key
        print(json.dumps({"took": took, "failed": failed, "peak_mib": peak_mib()}), flush=True)


def main(what: str, folder: str, *numbers: str) -> None:
    given = [int(one) for one in numbers]
    if what == "fill":
        print(json.dumps(fill(Path(folder), *given)))
    else:
        {"publish": publish, "read": read}[what](Path(folder), *given)


if __name__ == "__main__":
    main(*sys.argv[1:])
