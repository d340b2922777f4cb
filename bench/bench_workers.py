"""What a second worker brings: answers a second of one worker on one core and of two on two.

    python bench/bench_workers.py [--rounds 3] [--seconds 5] [--clients 32] [--keys 20] [--small]

Needs two cores and wrk. A load generator that asks for one row at a time takes as much of a core as a worker does, so
each request here names many keys: it costs a worker a millisecond and wrk a hundredth of that, and both cores are the
workers'. One worker has a core for itself; two share both cores with wrk and the loop.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import psutil
from api import own, servers, world
from load import Target, load

MODEL = ("model.txt", "--output", "p=predict_proba[1]:probability")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--keys", type=int, default=20, help="named by each request")
    options.add_argument("--small", action="store_true", help="one short round: whether it runs")
    given = options.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    if len(psutil.Process().cpu_affinity()) < 2:
        raise SystemExit("this needs two cores")
    if given.small:
        given.rounds, given.seconds = 1, 1
    with tempfile.TemporaryDirectory(prefix="bench-workers-") as name:
        folder = Path(name)
        made = world.make(folder)
        keys = [made.keys[place : place + given.keys] for place in range(0, len(made.keys), given.keys)]
        bodies = [json.dumps({"keys": part}) for part in keys]
        with contextlib.ExitStack() as ended:
            running = {count: begun(folder, count, ended) for count in (1, 2)}
            found: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(given.rounds):
                for count, one in running.items():
                    said = load(Target(one.port, own.PATH, bodies, one.token), given.clients, given.seconds, core=1)
                    if said.wrong:
                        raise SystemExit(f"{said.wrong} requests of {count} workers were not answered")
                    found[count].append(said.per_second * given.keys)
    rates = {count: statistics.median(each) for count, each in found.items()}
    print(f"{given.keys} keys a request, {given.clients} clients; medians of {given.rounds} rounds")
    print(f"  one worker, a core for itself           {rates[1]:>9,.0f} answers/s")
    print(f"  two workers, two cores, wrk among them  {rates[2]:>9,.0f} answers/s   x {rates[2] / rates[1]:.2f}")


def begun(folder: Path, count: int, ended: contextlib.ExitStack) -> own.Own:
    """`mainstay up` with so many workers, on the cores that are theirs."""
    file = folder / "mainstay.yaml"
    file.write_text(file.read_text().replace(f"workers: {3 - count}", f"workers: {count}"))
    one = own.up(folder, f"workers-{count}", *MODEL)
    ended.callback(own.end, one)
    own.wait(one)
    if count == 1:
        for each in one.process.children(recursive=True):
            servers.pin(each, [0] if "mainstay.http.serve" in each.cmdline() else [1])
    return one


if __name__ == "__main__":
    main()
