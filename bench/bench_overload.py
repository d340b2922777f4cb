"""What happens past saturation: goodput, waits and refusals against offered load.

    python bench/bench_overload.py [--seconds 10] [--small]

A model in a process of its own that takes 10 ms a row, asked in an open loop at 0.5 to 10 times what it can do:
requests come in even steps, whether those before are answered or not, and times count from when each was due. Health is
asked ten times a second beside it. Then a fast model (LightGBM, in the worker) by more and more clients.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from api import own, world
from load import Reply, Target, load, open_loop

FACTORS = (0.5, 0.8, 1, 1.5, 2, 5, 10)
CLIENTS = (16, 64, 128, 256, 512, 1000)
ROW_MS = 10
SLOW = f"""
import time


class Model:
    inputs = {{{", ".join(f'"{name}": "number"' for name in world.FEATURES)}}}
    outputs = {{"p": {{"type": "number", "unit": "probability"}}}}

    def load(self, path):
        pass

    def predict(self, frame):
        if len(frame) <= 64:  # the import asks for all 100,000 rows
            time.sleep({ROW_MS / 1000} * len(frame))
        return {{"p": [0.5] * len(frame)}}
"""


def share(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def told(replies: list[Reply]) -> str:
    taken = [one.took_ms for one in replies if one.status == 200]
    refused = [one for one in replies if one.status in (429, 503)]
    late = share([one.took_ms for one in refused], 0.99)
    found = f"{share(taken, 0.5):>9.1f}{share(taken, 0.99):>9.1f}{len(refused):>9,}{late:>15.1f}"
    for count, what in (
        (len(replies) - len(taken) - len(refused), "failed"),
        (sum(not one.retry_after for one in refused), "without Retry-After"),
    ):
        found += f"   {count} {what}" if count else ""
    return found


def slow(folder: Path, bodies: list[str], seconds: float) -> None:
    (folder / "slow").mkdir()
    (folder / "slow" / "model.py").write_text(SLOW)
    one = own.up(folder, "overload-slow", str(folder / "slow"))
    try:
        own.wait(one)
        target = Target(one.port, own.PATH, bodies, one.token)
        load(target, 1, 2)  # what calls cost is learnt
        took = [reply.took_ms for reply in open_loop(target, 20, seconds) if reply.status == 200]
        print(f"a model of {ROW_MS} ms a row, unloaded: p50 {share(took, 0.5):.1f}, p99 {share(took, 0.99):.1f} ms")
        heads = f"{'answered/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'refused':>9}{'their p99 ms':>15}{'health p99 ms':>16}"
        print(f"{'x capacity':>10}{'offered/s':>11}{heads}")
        for factor in FACTORS:
            rate = factor * 1000 / ROW_MS
            with ThreadPoolExecutor(1) as beside:
                asked = beside.submit(open_loop, Target(one.port, "/health/ready", [""], one.token), 10, seconds)
                replies = open_loop(target, rate, seconds)
                healthy = asked.result()
            answered = sum(reply.status == 200 for reply in replies) / seconds
            sick = sum(reply.status != 200 for reply in healthy)
            health = f"{share([reply.took_ms for reply in healthy], 0.99):>16.1f}" + (f", {sick} bad" if sick else "")
            print(f"{factor:>10}{rate:>11,.0f}{answered:>12,.1f}{told(replies)}{health}")
    finally:
        own.end(one)


def fast(folder: Path, bodies: list[str], seconds: float) -> None:
    one = own.up(folder, "overload-fast", "model.txt", "--output", "p=predict_proba[1]:probability")
    try:
        own.wait(one)
        target = Target(one.port, own.PATH, bodies, one.token)
        print("a fast model, LightGBM in the worker: clients that never pause, by key")
        print(f"{'clients':>10}{'answered/s':>12}{'refused/s':>11}{'p50 ms':>9}{'p99 ms':>9}")
        for clients in CLIENTS:
            found = load(target, clients, seconds)
            refused = found.wrong / seconds
            rates = f"{found.per_second - refused:>12,.0f}{refused:>11,.0f}"
            print(f"{clients:>10}{rates}{found.p50_ms:>9.1f}{found.p99_ms:>9.1f}")
    finally:
        own.end(one)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--only", choices=("slow", "fast"), nargs="*", default=["slow", "fast"])
    options.add_argument("--small", action="store_true", help="a second each: whether it runs")
    given = options.parse_args()
    seconds = 1 if given.small else given.seconds
    with tempfile.TemporaryDirectory(prefix="bench-overload-") as name:
        folder = Path(name)
        made = world.make(folder)
        bodies = [json.dumps({"key": key}) for key in made.keys]
        if "slow" in given.only:
            slow(folder, bodies, seconds)
        if "fast" in given.only:
            if shutil.which("wrk") is None:
                raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
            fast(folder, bodies, seconds)


if __name__ == "__main__":
    main()
