"""One trained lab and one running integration for all the stories on the real data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.testing.postgres import PostgresServer
from tests.road.telco import DATA, Lab, Telco, load


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not DATA.is_file():
        pytest.skip(f"the real data is not here: {DATA}")
    return DATA


@pytest.fixture(scope="session")
def lab(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def crm_server(real_data: Path) -> Iterator[PostgresServer]:
    """A server of its own: the stories stop it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def telco(crm_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telco]:
    """Running, blanks cleaned to null, the base rate answering."""
    database = crm_server.create_database("crm")
    load(database)
    with Telco(tmp_path_factory.mktemp("telco"), database) as telco:
        telco.start()
        yield telco


@pytest.fixture(scope="session")
def versions(telco: Telco, lab: Lab) -> dict[str, int]:
    """Number of each of the lab's models, imported; the converted one answers."""
    numbers = {name: int(lab.add(telco, name)["version"]["number"]) for name in ("boosting", "native")}
    telco.cli("model", "use", str(numbers["boosting"]))
    return numbers


@pytest.fixture(scope="session")
def strict(crm_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telco]:
    """Another running integration, on a CRM of its own, in which nulls, doubts and odd tenures are not allowed."""
    database = crm_server.create_database("strict")
    load(database)
    replace = {
        "total_charges:     {type: number, clean": "total_charges:     {type: number, required: true, clean",
        "max: 120, unit: months}": "max: 120, unit: months, on_fail: block}",
        "    every: 1s": "    duplicates: {keep: none}\n    every: 1s",
    }
    with Telco(tmp_path_factory.mktemp("strict"), database, replace) as telco:
        telco.start()
        yield telco
