"""Versions of dataset contracts: what `apply` plans and records, and what `mainstay contract` shows."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from mainstay.app.contracts import difference, of_dataset, read_contracts
from mainstay.app.wiring import own
from mainstay.cli.main import run
from mainstay.core.errors import NotFound
from mainstay.core.promises import DatasetContract
from mainstay.core.records import BatchRecord
from mainstay.serving.reply import Answer
from mainstay.store.shelf import Shelf
from tests.app.shop import COLUMNS, RULE, Shop

LOOSER = COLUMNS.replace("max: 120", "max: 150")
WIDER = COLUMNS + "      plan: {type: string}\n"


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def versions(world: Shop) -> tuple[DatasetContract, ...]:
    return read_contracts(world.place).datasets["customers"]


def batches(world: Shop) -> list[BatchRecord]:
    with own(world.place, "a test") as works:
        return list(works.desk.batches.all("customers/").values())


def typed(world: Shop, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(["contract", *words, "--file", str(world.file), "--home", str(world.home)]) == 0
    return capsys.readouterr().out


def test_the_first_file_makes_the_first_version_without_a_step(world: Shop) -> None:
    world.begin()
    (one,) = versions(world)
    assert (one.number, one.changes, one.breaking) == (1, (), False)
    assert [column.name for column in one.promise.columns] == ["customer_id", "tenure", "city"]
    assert one.by
    assert [batch.contract for batch in batches(world)] == [1]


def test_a_break_is_said_in_the_plan_and_recorded_when_it_is_applied(world: Shop) -> None:
    world.begin()
    world.write(columns=LOOSER)
    planned = world.plan()
    (step,) = [one for one in planned["steps"] if one["kind"] == "record_contract"]
    assert step["sentence"] == (
        "dataset contract customers: 1 -> 2 (breaking: check tenure.max asks less: value 120 became value 150)"
    )
    (warning,) = [one for one in planned["warnings"] if one["check"] == "customers.contract"]
    assert "breaks for its readers" in warning["sentence"]
    assert len(versions(world)) == 1  # planned, not recorded
    world.apply()
    first, second = versions(world)
    assert (second.number, second.breaking, second.file) == (2, True, digest(world))
    assert first.digest != second.digest
    assert world.kinds() == []


def digest(world: Shop) -> str:
    with own(world.place, "a test") as works:
        from mainstay.app.place import applied_record

        applied = applied_record(works.state)
        assert applied is not None
        return applied.digest


def test_an_addition_is_compatible_and_the_batch_that_it_reads_is_judged_by_it(world: Shop) -> None:
    world.begin()
    world.write(columns=WIDER)
    planned = world.plan()
    assert [one["kind"] for one in planned["steps"]] == ["reread", "record_contract", "store_file"]
    assert not [one for one in planned["warnings"] if one["check"] == "customers.contract"]
    world.apply()
    assert versions(world)[-1].changes[0].sentence == "column plan is new"
    assert not versions(world)[-1].breaking
    assert [batch.contract for batch in batches(world)] == [1, 2]


def test_what_promises_nothing_makes_no_version(world: Shop) -> None:
    world.begin()
    world.apply(columns=COLUMNS.replace("city: {type: string}", "city: {type: string, clean: [upper]}"))
    world.apply(model=RULE)
    assert len(versions(world)) == 1


def test_an_integration_from_before_there_were_versions_begins_with_what_was_applied(world: Shop) -> None:
    world.begin()
    with own(world.place, "a test") as works:
        works.state.commit(
            [Shelf(works.state, "contract", DatasetContract).remove("customers/000001")],
            token=works.lease.token,
        )
    assert world.kinds() == []
    assert [one.number for one in versions(world)] == [1]  # as the applied file says it
    world.write(columns=LOOSER)
    assert "customers: 1 -> 2 (breaking" in world.plan()["steps"][-2]["sentence"]
    world.apply()
    first, second = versions(world)
    assert (first.number, second.number) == (1, 2)
    assert first.promise.checks != second.promise.checks
    assert first.at_us < second.at_us


def test_two_versions_are_compared_in_either_direction(world: Shop) -> None:
    world.begin()
    world.apply(columns=WIDER)
    world.apply(columns=LOOSER)
    found = read_contracts(world.place)
    one, three = of_dataset(found, "customers", 1), of_dataset(found, "customers", 3)
    assert [change.breaking for change in difference(one, three)] == [True]
    assert [change.breaking for change in difference(three, one)] == [False]
    with pytest.raises(NotFound, match="no version 4"):
        of_dataset(found, "customers", 4)
    with pytest.raises(NotFound, match="no dataset kunden"):
        of_dataset(found, "kunden")


# --- typed ---------------------------------------------------------------------------------------------------------


def test_it_is_shown_with_its_history(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.begin()
    world.apply(columns=LOOSER)
    listed = typed(world, capsys)
    assert "customers" in listed
    shown = typed(world, capsys, "customers")
    assert "customers: version 2" in shown
    assert "warn 1 h, fail 2 h" in shown
    assert "breaking" in shown
    assert "check tenure.max asks less: value 120 became value 150" in shown
    assert "the first" in shown
    assert "customers: version 1" in typed(world, capsys, "customers", "--number", "1")
    differs = typed(world, capsys, "customers", "--diff", "1", "2")
    assert "customers: 1 -> 2" in differs
    assert "breaking    check tenure.max asks less" in differs


def test_it_is_told_to_programs(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.begin()
    world.apply(columns=LOOSER)
    shown: dict[str, Any] = json.loads(typed(world, capsys, "customers", "--json"))
    assert (shown["contract"]["number"], len(shown["history"])) == (2, 2)
    differs = json.loads(typed(world, capsys, "customers", "--diff", "1", "2", "--json"))
    assert (differs["from"], differs["to"], differs["breaking"], len(differs["changes"])) == (1, 2, True, 1)
    assert [one["dataset"] for one in json.loads(typed(world, capsys, "--json"))["contracts"]] == ["customers"]


def test_it_is_written_as_odcs(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.begin()
    world.apply(columns=LOOSER)
    text = typed(world, capsys, "customers", "--odcs")
    document = YAML(typ="safe").load(io.StringIO(text))
    standard = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8"))
    jsonschema.Draft201909Validator(standard).validate(document)
    assert list(document)[:2] == ["apiVersion", "kind"]
    assert (document["version"], document["status"]) == ("2.0.0", "active")
    earlier = json.loads(typed(world, capsys, "customers", "--odcs", "--number", "1", "--json"))
    assert (earlier["version"], earlier["status"]) == ("1.0.0", "retired")


def test_without_a_dataset_there_is_nothing_to_compare(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.begin()
    assert run(["contract", "--odcs", "--file", str(world.file), "--home", str(world.home)]) == 4
    assert "one of customers" in capsys.readouterr().err


def test_an_answer_is_led_back_to_the_version_that_judged_its_row(
    world: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    world.begin(model=RULE)
    (answer,) = world.predict("person-0003")
    assert isinstance(answer, Answer)
    assert answer.receipt
    capsys.readouterr()
    assert run(["why", answer.receipt, "--file", str(world.file), "--home", str(world.home)]) == 0
    assert "dataset contract version 1" in capsys.readouterr().out


def test_a_document_of_the_standard_is_read_as_a_dataset(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.begin()
    file = world.folder / "customers.odcs.yaml"
    file.write_text(typed(world, capsys, "customers", "--odcs"))
    text = typed(world, capsys, "--from", str(file))
    assert text.startswith("# customers, from version 1.0.0 of its contract. Name its source.")
    assert YAML(typ="safe").load(text)["datasets"]["customers"]["key"] == "customer_id"
    assert json.loads(typed(world, capsys, "customers", "--from", str(file), "--json"))["dataset"] == "customers"
