"""The prediction API beside its peers: the same model, one core for the server, the other for wrk.

    python bench/bench_api.py [--rounds 3] [--seconds 4] [--clients 1 8 64] [--only NAME ...] [--small]

Ours runs as `mainstay up` runs it, from a real table: API key, validation, row by key among 100,000, freshness,
receipt, metrics, and the loop beside it. Every server answers 100 rows as the model does before it is measured; rows
are varied; the servers are measured in turn, those that wait are stopped. Needs wrk (Debian: apt-get install wrk).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from api import own, servers, world
from api.servers import Server
from beside import NotHere
from load import Target, load

SERVER_CORE, LOAD_CORE = [0], [1]


class Run(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the server for each request."""
    mib: float
    wrong: int


def ours(folder: Path, model: str) -> tuple[Server, Server]:
    """`mainstay up` on a copy of the world, asked by key and on rows."""
    file, output = ("model.txt", "p=predict_proba[1]") if model == "lightgbm" else ("hgb.onnx", "p=probabilities[1]")
    one = own.up(folder, f"mainstay-{model}", file, "--output", f"{output}:probability")
    what = "LightGBM" if model == "lightgbm" else "ONNX Runtime"
    return (
        Server(f"Mainstay by key, {what}", model, one.port, own.PATH, lambda key, _row: {"key": key},
               lambda said: said["output"]["p"], one.token, one.process),
        Server(f"Mainstay on rows, {what}", model, one.port, own.PATH,
               lambda _key, row: {"rows": [servers.row_of("", row)]},
               lambda said: said["results"][0]["output"]["p"], one.token, one.process),
    )  # fmt: skip


def original(folder: Path, batching: str) -> tuple[Server]:
    """The scikit-learn model as it was handed over, in its own process, which has the worker's core or another."""
    words = ["hgb.joblib", "--no-convert", "--example", "example.csv", "--output", "p=predict_proba[1]:probability"]
    one = own.up(folder, f"original-{batching}", *words, batching=batching)
    name = f"Mainstay, original, batching {batching}"
    return (
        Server(name, "original", one.port, own.PATH, lambda key, _row: {"key": key}, lambda said: said["output"]["p"],
               one.token, one.process, whole=True),
    )  # fmt: skip


def settled(server: Server, seconds: float = 90) -> None:
    """Waits until it answers, and gives its processes their core; the loop of ours keeps the other one."""
    until = time.monotonic() + seconds
    body = json.dumps(server.body("K000000", [0.0] * len(world.FEATURES))).encode()
    while True:
        try:
            ask(server, body)
            break
        except OSError as error:
            if time.monotonic() > until or not server.process.is_running():
                raise SystemExit(f"{server.name} does not answer: {error}") from None
            time.sleep(0.2)
    for one in server.tree():
        with contextlib.suppress(psutil.Error):
            if server.whole:
                continue
            servers.pin(one, LOAD_CORE if "mainstay.app.loop_process" in one.cmdline() else SERVER_CORE)


def ask(server: Server, body: bytes) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{server.path}", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def checked(server: Server, made: world.World) -> None:
    if not server.model:
        return
    worst = 0.0
    for place in range(0, world.ASKED, world.ASKED // 100):
        said = ask(server, json.dumps(server.body(made.keys[place], made.rows[place])).encode())
        worst = max(worst, abs(server.answer(said) - made.answers[server.model][place]))
    if worst > 2e-5:
        raise SystemExit(f"{server.name} answers otherwise than the model: by {worst:.2g}")


def measure(server: Server, made: world.World, clients: int, seconds: float) -> Run:
    bodies = [json.dumps(server.body(key, row)) for key, row in zip(made.keys, made.rows, strict=True)]
    processes = [one for one in server.tree() if _counted(one)]
    before = [_cpu(one) for one in processes]
    one = load(Target(server.port, server.path, bodies, server.token), clients, seconds, core=LOAD_CORE[0])
    spent = sum(_cpu(process) for process in processes) - sum(before)
    mib = sum(process.memory_info().rss for process in processes) / 2**20
    return Run(one.per_second, one.p50_ms, one.p99_ms, spent / max(one.per_second * seconds, 1) * 1e6, mib, one.wrong)


def _counted(process: psutil.Process) -> bool:
    """Of ours the worker alone; of every other server all it runs."""
    line = process.cmdline()
    return "mainstay" not in " ".join(line[:4]) or "mainstay.http.serve" in line or "python_host" in " ".join(line[:4])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def awake(server: Server) -> Iterator[None]:
    """Lets it run for so long; all others are stopped. What hung while it was stopped is made anew before it counts."""
    _signal(server, signal.SIGCONT)
    time.sleep(0.3)
    if server.whole:
        time.sleep(3)
        settled(server)
    try:
        yield
    finally:
        _signal(server, signal.SIGSTOP)


def _signal(server: Server, number: int) -> None:
    for one in server.tree():
        with contextlib.suppress(psutil.Error):
            one.send_signal(number)


def wanted(folder: Path, only: list[str]) -> list[Callable[[], tuple[Server, ...]]]:
    makers: dict[str, Callable[[], tuple[Server, ...]]] = {
        "mainstay": lambda: ours(folder, "lightgbm"),
        "mainstay-onnx": lambda: ours(folder, "hgb"),
        "mainstay-original": lambda: (*original(folder, "auto"), *original(folder, "off")),
        "floor": lambda: (servers.floor(folder, own.free_port()),),
        "fastapi": lambda: (
            servers.fast(folder, own.free_port(), "lightgbm"),
            servers.fast(folder, own.free_port(), "hgb"),
        ),
        "mlserver": lambda: (
            servers.mlserver(folder, 21_080, workers=0, batch=False),
            servers.mlserver(folder, 21_082, workers=1, batch=False),
            servers.mlserver(folder, 21_084, workers=0, batch=True),
        ),
        "litserve": lambda: (servers.scripted(folder, own.free_port(), "litserve", "LitServe"),),
        "bentoml": lambda: (servers.scripted(folder, own.free_port(), "bentoml", "BentoML"),),
        "mlflow": lambda: (servers.scripted(folder, own.free_port(), "mlflow", "MLflow serve"),),
        "ray": lambda: (servers.scripted(folder, own.free_port(), "ray", "Ray Serve"),),
    }
    unknown = sorted(set(only) - set(makers))
    if unknown:
        raise SystemExit(f"there is no {', '.join(unknown)}; there are {', '.join(makers)}")
    return [maker for name, maker in makers.items() if not only or name in only]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4)
    options.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    options.add_argument("--only", nargs="*", default=[])
    options.add_argument("--small", action="store_true", help="ours and the floor, one short round: whether it runs")
    given = options.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    if given.small:
        given.rounds, given.seconds, given.only = 1, 1, ["mainstay", "floor"]
    found: dict[tuple[str, int], list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-api-") as name:
        folder = Path(name)
        made = world.make(folder)
        with started(folder, given.only, made) as running:
            allowed = world.alone_us(folder, made)
            for _ in range(given.rounds):
                for clients in given.clients:
                    for server in running:
                        with awake(server):
                            run = measure(server, made, clients, given.seconds)
                        found.setdefault((server.name, clients), []).append(run)
    say(running, given.clients, found)
    if any(server.whole for server in running):
        print(f"the original takes {allowed:,.0f} us for a row: its cost allows {1e6 / allowed:,.0f} rows/s one by one")


@contextlib.contextmanager
def started(folder: Path, only: list[str], made: world.World) -> Iterator[list[Server]]:
    """All that are wanted and to be had; each has answered as the model does, and is stopped. Ended at the end."""
    running: list[Server] = []
    try:
        for make in wanted(folder, only):
            try:
                running += make()
            except NotHere as why:
                print(why)
        for server in running:
            settled(server)
            checked(server, made)
        for server in running:
            _signal(server, signal.SIGSTOP)
        yield running
    finally:
        for server in running:
            _signal(server, signal.SIGCONT)
        every = [one for server in running for one in reversed(server.tree())]
        for one in every:
            with contextlib.suppress(psutil.Error):
                one.terminate()
        _, stubborn = psutil.wait_procs(every, 20)
        for one in stubborn:
            one.kill()


def say(running: list[Server], clients: list[int], found: dict[tuple[str, int], list[Run]]) -> None:
    print("all answer 100 rows as the model does; medians of the rounds; the server on one core, wrk on the other")
    print(f"{'':<34}{'clients':>8}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'cpu us':>8}{'MiB':>6}{'x floor':>9}")
    for count in clients:
        base = _middle(found.get(("raw uvicorn, a constant", count), []), "per_second")
        for server in running:
            runs = found[server.name, count]
            rate = _middle(runs, "per_second")
            ratio = f"{rate / base:>9.2f}" if base else f"{'-':>9}"
            wrong = sum(one.wrong for one in runs)
            print(
                f"{server.name:<34}{count:>8}{rate:>9,.0f}"
                f"{_middle(runs, 'p50_ms'):>9.3f}{_middle(runs, 'p99_ms'):>9.3f}"
                f"{_middle(runs, 'cpu_us'):>8.1f}{max(one.mib for one in runs):>6.0f}{ratio}"
                + (f"  {wrong} failed" if wrong else "")
            )


def _middle(runs: list[Run], name: str) -> float:
    return statistics.median(getattr(one, name) for one in runs) if runs else 0.0


if __name__ == "__main__":
    main()
