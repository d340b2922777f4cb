"""dlt: one table of PostgreSQL into a DuckDB file, by the backend that is named. Run by dlt's own interpreter."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import dlt
import duckdb
from dlt.sources.sql_database import sql_table
from peak import peak_mib


def main(url: str, backend: str, folder: str, checksum: str) -> None:
    logging.disable(logging.WARNING)
    file = Path(folder, "loaded.duckdb")
    pipeline = dlt.pipeline(
        "bench", destination=dlt.destinations.duckdb(str(file)), dataset_name="crm", pipelines_dir=folder
    )
    if backend == "connectorx":
        kwargs = {"conn": url, "return_type": "arrow"}
        table = sql_table(url, "customers", backend="connectorx", backend_kwargs=kwargs)
    elif backend == "default":
        table = sql_table(url, "customers")
    else:
        table = sql_table(url, "customers", backend=backend)
    began = time.perf_counter()
    info = pipeline.run(table)
    seconds = time.perf_counter() - began
    info.raise_on_failed_jobs()
    peak = peak_mib()
    with duckdb.connect(str(file)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        (found,) = connection.execute(checksum.replace("FROM_HERE", "crm.customers")).fetchall()
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "checksum": [int(one) for one in found]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
