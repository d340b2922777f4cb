"""Every built-in source does what the seam asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.sources import BUILT_IN, class_of
from mainstay.testing.postgres import Database
from mainstay.testing.source_suite import SourceHarness, SourceSuite
from tests.sources.harnesses import FilesHarness, PostgresHarness, SqliteHarness


@pytest.fixture(params=sorted(BUILT_IN))
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceHarness]:
    made: PostgresHarness | SqliteHarness | FilesHarness
    if request.param == "postgres":
        database = request.getfixturevalue("postgres_db")
        assert isinstance(database, Database)
        made = PostgresHarness(database)
    elif request.param == "files":
        made = FilesHarness(tmp_path / "drops")
    else:
        made = SqliteHarness(tmp_path / "legacy.db")
    yield made
    made.close()


class TestSources(SourceSuite):
    pass


@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_every_kind_says_what_it_can_do(kind: str) -> None:
    found = class_of(kind)
    assert found.capabilities.incremental
    assert found.capabilities.read_only
    assert found.Options.__struct_fields__
