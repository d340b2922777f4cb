from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.serving import Caller, Served, serving
from tests.serving.toy import Toy


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    toy = Toy(tmp_path)
    with serving(toy) as made:
        yield made
    toy.journal.close()


@pytest.fixture
def caller(served: Served) -> Iterator[Caller]:
    made = served.caller(served.toy.key("predict"))
    yield made
    made.close()


@pytest.fixture
def operator(served: Served) -> Iterator[Caller]:
    made = served.caller(served.toy.key("operate"))
    yield made
    made.close()
