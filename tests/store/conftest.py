"""Disks that are too small, and a database for stores."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.testing.postgres import Database, PostgresServer

SMALL = 1 << 20


@pytest.fixture(params=["file size limit", "full disk"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder where a mebibyte fits and not more: by this process's file size limit, and a real, tiny file system."""
    if request.param == "file size limit":
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
        yield tmp_path
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting needs root; the file size limit is tested in its place")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="session")
def state_database(postgres: PostgresServer) -> Database:
    return postgres.create_database("stores")
