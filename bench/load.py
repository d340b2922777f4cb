"""A load generator: wrk where it is installed, else asyncio in a process of its own. Bodies are taken in turn."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

LUA = """
local bodies, at = {}, math.random(0, 997)
for line in io.lines("%(bodies)s") do bodies[#bodies + 1] = line end
local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "%(authorization)s" }
function request()
  at = at + 1
  return wrk.format("POST", "%(path)s", headers, bodies[at %% #bodies + 1])
end
"""


class Load(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    wrong: int


class Target(NamedTuple):
    port: int
    path: str
    bodies: list[str]
    token: str


def load(target: Target, clients: int, seconds: float, *, core: int | None = None) -> Load:
    port, path, bodies, token = target
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "bodies")
        file.write_text("\n".join(bodies) + "\n")
        if shutil.which("wrk"):
            return _wrk(target, file, clients, seconds, core)
        asked = [sys.executable, __file__, str(port), path, str(file), token, str(clients), str(seconds)]
        out = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return Load(*json.loads(out))


def _wrk(target: Target, file: Path, clients: int, seconds: float, core: int | None) -> Load:
    script = file.with_suffix(".lua")
    script.write_text(LUA % {"bodies": file, "path": target.path, "authorization": f"Bearer {target.token}"})
    url = f"http://127.0.0.1:{target.port}"
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    asked = [*pinned, "wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--latency", "-s", str(script), url]
    out = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    count = int(wrong[1]) if wrong else 0
    count += sum(map(int, lost.groups())) if lost else 0
    return Load(float(found[1]) if found else 0.0, _latency(out, "50%"), _latency(out, "99%"), count)


def _latency(out: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", out)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]] if found else 0.0


async def _generate(target: Target, clients: int, seconds: float) -> Load:
    port, path, bodies, token = target
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode() for body in bodies]
    took: list[float] = []
    wrong = 0
    until = time.perf_counter() + seconds

    async def client(at: int) -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            at += 1
            writer.write(requests[at % len(requests)])
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            await reader.readexactly(int(length[1]) if length else 0)
            took.append(time.perf_counter() - began)
            wrong += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(client(number * 131) for number in range(clients)))
    took.sort()
    return Load(len(took) / seconds, took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000, wrong)


class Reply(NamedTuple):
    at_s: float
    """When it was due, since the begin."""
    took_ms: float
    """Since it was due: a generator that is late makes no answer look faster."""
    status: int
    """0: no answer."""
    retry_after: bool


def open_loop(target: Target, per_second: float, seconds: float) -> list[Reply]:
    """So many requests in each second, in even steps, whether those before are answered or not."""
    port, path, bodies, token = target
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "bodies")
        file.write_text("\n".join(bodies) + "\n")
        asked = [sys.executable, __file__, "open", str(port), path, str(file), token, str(per_second), str(seconds)]
        out = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return [Reply(*one) for one in json.loads(out)]


async def _open(target: Target, per_second: float, seconds: float) -> list[Reply]:
    head = f"{'GET' if not target.bodies[0] else 'POST'} {target.path} HTTP/1.1\r\nHost: x\r\n"
    head += f"Authorization: Bearer {target.token}\r\n"
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode() for body in target.bodies]
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    found: list[Reply] = []
    began = time.perf_counter()

    async def one(number: int, due: float) -> None:
        status, later = 0, False
        try:
            reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(requests[number % len(requests)])
            async with asyncio.timeout(30):
                answer = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", answer)
                await reader.readexactly(int(length[1]) if length else 0)
            status, later = int(answer[9:12]), b"\r\nretry-after:" in answer
            idle.append((reader, writer))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        found.append(Reply(due, (time.perf_counter() - began - due) * 1000, status, later))

    async with asyncio.TaskGroup() as group:
        for number in range(int(per_second * seconds)):
            due = number / per_second
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            group.create_task(one(number, due))
    return found


if __name__ == "__main__":
    if sys.argv[1] == "open":
        port, path, file, token, rate, seconds = sys.argv[2:]
        lines = Path(file).read_text().splitlines()
        print(json.dumps(asyncio.run(_open(Target(int(port), path, lines, token), float(rate), float(seconds)))))
    else:
        port, path, file, token, clients, seconds = sys.argv[1:]
        lines = Path(file).read_text().splitlines()
        print(json.dumps(asyncio.run(_generate(Target(int(port), path, lines, token), int(clients), float(seconds)))))
