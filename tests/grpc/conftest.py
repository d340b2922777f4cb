from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import grpc
from tests.http.serving import Served, serving
from tests.serving.toy import Toy


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    toy = Toy(tmp_path)
    with serving(toy, grpc="127.0.0.1:0") as made:
        yield made
    toy.journal.close()


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as made:
        yield made
