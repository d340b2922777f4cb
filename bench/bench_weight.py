"""What it weighs: packages to fetch, space on disk, start, import, and memory of what only waits, beside each peer.

    python bench/bench_weight.py [--rounds 5] [--wait 20] [--small]

Each is installed alone, without the extras that other benchmarks need: ours as a wheel with its locked core
dependencies. Wheels are those that fit this machine, at the size their index tells. Times are of whole processes, byte
code compiled and files in the page cache. Waiting memory is the proportional share (PSS) of all processes together:
`mainstay up` with the integration of examples/drops, its loop running, beside `feast serve` and `mlserver start`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from beside import ROOT, SCRIPTS, NotHere, environment, run_peer, uv, uv_variables, variables
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from mainstay.testing.ports import free_port


class Peer(NamedTuple):
    packages: tuple[str, ...]
    importing: str
    command: str
    """Its command; empty where it has none."""


PEERS = {
    "dlt": Peer(("dlt[duckdb]==1.31.0",), "import dlt", "dlt"),
    "feast": Peer(("feast==0.67.0",), "from feast import FeatureStore", "feast"),
    "great_expectations": Peer(("great-expectations==1.24.1",), "import great_expectations", ""),
    "pandera": Peer(("pandera[pandas]==0.35.0",), "import pandera.pandas", ""),
    "mlserver": Peer(("mlserver==1.7.1",), "import mlserver", "mlserver"),
}
OURS = {
    "import mainstay": "import mainstay",
    "the modules of `up`": "import mainstay.app.up, mainstay.app.worker, mainstay.app.loop, mainstay.http.serve",
}


def ask_uv(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [uv(), *arguments], env=uv_variables(), input=given, capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise NotHere(f"uv {arguments[0]} failed: {done.stderr.strip()[:300]}")
    return done.stdout


def own_environment(folder: Path) -> tuple[Path, Path]:
    """Mainstay's interpreter with core dependencies alone, as locked; and its wheel."""
    ask_uv("build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    locked = ask_uv("export", "--quiet", "--frozen", "--no-dev", "--no-hashes", "--no-emit-project", "--no-header")
    pins = [line for line in locked.splitlines() if line and not line.lstrip().startswith("#")]
    return environment("weight-mainstay", (*pins, f"mainstay @ {wheel.as_uri()}")), wheel


def wheels(python: Path, own: Path | None) -> dict[str, int]:
    """Distribution -> the size of the wheel that was fetched, in bytes."""
    frozen = [line for line in ask_uv("pip", "freeze", "--python", str(python)).splitlines() if " @ " not in line]
    lock = ask_uv("pip", "compile", "-", "--no-deps", "--format", "pylock.toml", given="\n".join(frozen))
    best = {tag: place for place, tag in enumerate(sys_tags())}
    found = {"mainstay": own.stat().st_size} if own else {}
    for package in tomllib.loads(lock)["packages"]:
        sizes = []
        for wheel in package.get("wheels", ()):
            tags = parse_wheel_filename(wheel.get("name") or wheel["url"].rpartition("/")[2])[3]
            places = [best[tag] for tag in tags if tag in best]
            if places:
                sizes.append((min(places), wheel["size"]))
        found[package["name"]] = min(sizes)[1] if sizes else package["sdist"]["size"]
    return found


def on_disk(python: Path) -> int:
    """Bytes of what is installed, without the byte code that Python adds."""
    files = next((python.parent.parent / "lib").glob("python*/site-packages")).rglob("*")
    return sum(one.stat().st_size for one in files if one.is_file() and one.suffix != ".pyc")


def timed(command: list[str], rounds: int) -> tuple[float, str]:
    """The median in milliseconds, after one start that does not count; and what was printed."""
    times, out = [], ""
    for _ in range(rounds + 1):
        began = time.perf_counter()
        done = subprocess.run(command, env=variables(), capture_output=True, text=True, check=False)
        times.append((time.perf_counter() - began) * 1000)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr[-1000:]}")
        out = done.stdout
    return statistics.median(times[1:]), out


def importing(python: Path, statement: str, rounds: int) -> tuple[float, float]:
    """Milliseconds and MiB of a process that does nothing but this."""
    asked = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n{statement}\nfrom peak import peak_mib; print(peak_mib())"
    )
    took, out = timed([str(python), "-c", asked], rounds)
    return took, float(out.splitlines()[-1])


def pss_mib(process: psutil.Process) -> tuple[float, int]:
    """The whole tree's memory, each shared page counted once; and how many processes that is."""
    tree = [process, *process.children(recursive=True)]
    found = []
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = one.memory_full_info()
            found.append(getattr(memory, "pss", memory.uss))
    return sum(found) / 2**20, len(found)


@contextlib.contextmanager
def running(command: list[str], cwd: Path, ready: str) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, cwd=cwd, env=variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(ready, timeout=1).close()
                break
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended: {process.returncode}")
            time.sleep(0.2)
        else:
            raise SystemExit(f"{' '.join(command)} was not ready in two minutes")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()


def up(python: Path, folder: Path) -> tuple[list[str], Path, str]:
    """examples/drops, applied, its first night read."""
    home = folder / "drops"
    shutil.copytree(ROOT / "examples" / "drops", home)
    mainstay = str(python.parent / "mainstay")
    for step in ([str(python), "drop.py", "1"], [mainstay, "apply", "--yes"]):
        subprocess.run(step, cwd=home, env=variables(), check=True, capture_output=True)
    port = free_port()
    return [mainstay, "up", "--port", str(port)], home, f"http://127.0.0.1:{port}/health/ready"


def feast_serve(python: Path, folder: Path) -> tuple[list[str], Path, str]:
    run_peer("feast", "feast_store.py", "fill", folder, 10, 50)
    port = free_port()
    command = [str(python.parent / "feast"), "-c", str(folder), "serve", "-p", str(port), "--no-access-log"]
    return command, folder, f"http://127.0.0.1:{port}/health"


def mlserver_start(python: Path, folder: Path) -> tuple[list[str], Path, str]:
    """Its defaults, no model."""
    http = free_port()
    ports = {"http_port": http, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **ports}))
    command = [str(python.parent / "mlserver"), "start", str(folder)]
    return command, folder, f"http://127.0.0.1:{http}/v2/health/ready"


WAITING: dict[str, Callable[[Path, Path], tuple[list[str], Path, str]]] = {
    "mainstay": up,
    "feast": feast_serve,
    "mlserver": mlserver_start,
}
WORD = {"mainstay": "mainstay up", "feast": "feast serve", "mlserver": "mlserver start"}


def waiting(who: str, python: Path, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-weight-") as name:
        command, cwd, ready = WAITING[who](python, Path(name))
        with running(command, cwd, ready) as process:
            time.sleep(seconds)
            memory, count = pss_mib(process)
    print(f"{WORD[who]:<20} {memory:>7,.0f} MiB in {count} processes, {seconds:.0f} s after it was ready")


def weigh(who: str, python: Path, wheel: Path | None) -> None:
    fetched = wheels(python, wheel)
    print(
        f"{who:<20} {len(fetched):>4} packages, {sum(fetched.values()) / 1e6:>7.1f} MB to fetch, "
        f"{on_disk(python) / 1e6:>7.1f} MB on disk; heaviest: "
        + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sorted(fetched.items(), key=lambda one: -one[1])[:3])
    )


def start(who: str, python: Path, statements: dict[str, str], command: str, rounds: int) -> None:
    for what, statement in statements.items():
        took, memory = importing(python, statement, rounds)
        print(f"{who:<20} {what:<36} {took:>7,.0f} ms {memory:>6,.0f} MiB")
    if command:
        took, _ = timed([str(python.parent / command), "--help"], rounds)
        print(f"{who:<20} {command + ' --help':<36} {took:>7,.0f} ms")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--wait", type=float, default=20, help="seconds between ready and the look at memory")
    options.add_argument("--small", action="store_true", help="one round, two seconds: whether it runs")
    options.add_argument("--alone", action="store_true", help="without the peers")
    given = options.parse_args()
    rounds, wait = (1, 2.0) if given.small else (given.rounds, given.wait)
    pythons: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="bench-wheel-") as folder:
        pythons["mainstay"], wheel = own_environment(Path(folder))
        for who, peer in ({} if given.alone else PEERS).items():
            try:
                pythons[who] = environment(f"weight-{who}", peer.packages)
            except NotHere as why:
                print(why)
        for who, python in pythons.items():
            weigh(who, python, wheel if who == "mainstay" else None)
    took, memory = importing(Path(sys.executable), "", rounds)
    print(f"{'python':<20} {'nothing':<36} {took:>7,.0f} ms {memory:>6,.0f} MiB")
    start("mainstay", pythons["mainstay"], OURS, "mainstay", rounds)
    for who in list(pythons)[1:]:
        start(who, pythons[who], {PEERS[who].importing: PEERS[who].importing}, PEERS[who].command, rounds)
    for who in WAITING:
        if who in pythons:
            waiting(who, pythons[who], wait)


if __name__ == "__main__":
    main()
