"""How long one client waits: every answer timed by the client itself, which does nothing else.

    python bench/bench_one_client.py [--rounds 3] [--seconds 4] [--only mainstay floor fastapi] [--small]

Servers and bodies are those of `api`; the server has one core, the client the other, where the loop of ours works too.
wrk makes each request in Lua and has a clock and a collector of its own, which with one client are most of what its p99
tells: here the client sends bytes that were made before, and reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from api import world
from api.servers import Server
from bench_api import LOAD_CORE, awake, started

SHARES = (0.5, 0.9, 0.99, 0.999)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4)
    options.add_argument("--only", nargs="*", default=["floor", "mainstay", "mainstay-onnx", "fastapi"])
    options.add_argument("--small", action="store_true", help="ours and the floor, one short round: whether it runs")
    given = options.parse_args()
    if len(psutil.Process().cpu_affinity()) < 2:
        raise SystemExit("this needs two cores")
    if given.small:
        given.rounds, given.seconds, given.only = 1, 1, ["floor", "mainstay"]
    with tempfile.TemporaryDirectory(prefix="bench-one-client-") as name:
        folder = Path(name)
        made = world.make(folder)
        found: dict[str, list[list[float]]] = {}
        with started(folder, given.only, made) as running:
            os.sched_setaffinity(0, LOAD_CORE)
            for _ in range(given.rounds):
                for server in running:
                    with awake(server):
                        found.setdefault(server.name, []).append(waits(server, made, given.seconds))
    print(f"one client, ms until its answer is there; medians of {given.rounds} rounds")
    print(f"{'':<36}{'p50':>8}{'p90':>8}{'p99':>8}{'p99.9':>8}{'most':>8}")
    for name, rounds in found.items():
        told = [statistics.median(each) * 1e3 for each in zip(*rounds, strict=True)]
        print(f"{name:<36}" + "".join(f"{one:>8.3f}" for one in told))


def waits(server: Server, made: world.World, seconds: float) -> list[float]:
    """Seconds at each of `SHARES` of the requests, and the most."""
    requests = [
        request(server, json.dumps(server.body(key, row)).encode())
        for key, row in zip(made.keys, made.rows, strict=True)
    ]
    waited: list[float] = []
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            connection.sendall(requests[len(waited) % len(requests)])
            status = answered(connection)
            waited.append(time.perf_counter() - began)
            if status != b"200":
                raise SystemExit(f"{server.name} answers {status.decode()}")
    waited.sort()
    return [waited[int(len(waited) * share)] for share in SHARES] + [waited[-1]]


def request(server: Server, body: bytes) -> bytes:
    head = (
        f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answered(connection: socket.socket) -> bytes:
    """The status of the answer, whose last byte is read."""
    data = connection.recv(65_536)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(65_536)
    head = data[:end].lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    while len(data) < end + 4 + length:
        data += connection.recv(65_536)
    return head.split(b" ", 2)[1]


if __name__ == "__main__":
    main()
