from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.http.serving import Served, serving
from tests.serving.toy import Toy
from tests.web.browser import running_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file: while it is there an event loop runs in this thread, and other tests want one of their own."""
    with running_browser() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    toy = Toy(tmp_path)
    with serving(toy) as made:
        yield made
    toy.journal.close()
