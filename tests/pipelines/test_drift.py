"""The source's owner changes the table: what blocks, what is read on, and what a person is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.errors import SourceRefused
from mainstay.core.nouns import Check, Column, Dataset, SchemaDrift
from mainstay.core.ports import ReadRequest, SourceRead
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.features import Moment
from mainstay.pipelines.fit import known_names
from mainstay.pipelines.rebuild import reclean
from mainstay.testing.desk import close_desk
from mainstay.testing.postgres import Database
from tests.pipelines.drifting import ROWS, Legacy, dataset
from tests.pipelines.test_files_runs import CUSTOMERS, Shop


@pytest.fixture(params=["postgres", "sqlite"])
def database(request: pytest.FixtureRequest) -> Database | None:
    found: Database | None = request.getfixturevalue("postgres_db") if request.param == "postgres" else None
    return found


@pytest.fixture
def legacy(tmp_path: Path, database: Database | None) -> Iterator[Any]:
    made: list[Legacy] = []

    def make(of: Dataset | None = None) -> Legacy:
        made.append(Legacy(tmp_path, database, of))
        made[-1].run()
        return made[-1]

    yield make
    for one in made:
        one.close()


def accept(world: Legacy) -> None:
    """What `mainstay apply` does to a dataset whose schema it accepts."""
    state = msgspec.structs.replace(world.state, source_schema=known_names(world.state), blocked="", misfit="")
    world.desk.datasets.put("customers", state, token=1)


# --- renamed -------------------------------------------------------------------------------------------------------


def test_a_renamed_column_with_both_names_declared_stops_nothing_and_lands_no_row_again(legacy: Any) -> None:
    world = legacy(dataset("tarif", "tariff"))
    before = world.rows()
    world.rename("tarif", "tariff")
    result = world.run()
    assert (result.status, result.landed, result.noops) == ("empty", 0, result.read)
    assert world.rows() == before
    world.exec("UPDATE kunden SET tariff = 'neu', u = 99 WHERE id = 3")
    assert world.run().landed == 1
    assert world.rows() == before | {3: ("neu", 3)}
    assert world.told() == [("renamed", "tariff")]
    assert world.state.blocked == ""


def test_after_a_rename_everything_is_cleaned_again_from_what_landed_under_the_old_name(legacy: Any) -> None:
    world = legacy(dataset("tarif", "tariff"))
    world.rename("tarif", "tariff")
    world.exec("UPDATE kunden SET tariff = 'neu', u = 99 WHERE id = 3")
    world.run()
    before = world.rows()
    now = world.clock.now_us()
    reclean(world.desk, world.runner(), Moment(now, now))
    assert world.rows() == before
    assert len(before) == ROWS


def test_a_rename_between_two_looks_at_the_table_is_read_at_once(legacy: Any) -> None:
    world = legacy(dataset("tarif", "tariff"))
    world.exec("UPDATE kunden SET tarif = 'neu', u = 99 WHERE id = 3")
    world.source = Renaming(world.source, lambda: world.rename("tarif", "tariff"))
    world.again(world.dataset)
    assert world.run().landed == 1
    assert world.rows()[3] == ("neu", 3)


class Renaming:
    """A source whose table is changed after it was described and before it is read: once."""

    def __init__(self, source: Any, change: Any) -> None:
        self._source, self._change = source, change
        self.capabilities = source.capabilities

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[SourceRead]:
        change, self._change = self._change, lambda: None
        change()
        with self._source.read(request) as read:
            yield read


def test_with_one_name_it_blocks_and_the_new_name_is_proposed_with_its_evidence(legacy: Any) -> None:
    world = legacy()
    landed, as_of = world.desk.landing.numbers("customers"), world.state.as_of_us
    world.rename("tarif", "tariff")
    world.exec("UPDATE kunden SET laufzeit = 77, u = 99 WHERE id = 3")
    for _ in range(2):  # evidence is looked for once, and said each time
        with pytest.raises(SourceRefused) as raised:
            world.run()
        assert "column tarif of kunden is gone; needed by column plan; tarif is gone and tariff has come" in str(raised)
        assert f"100% of {ROWS} values equal" in raised.value.sentence
        assert "`source_name: [tarif, tariff]` at datasets.customers.columns.plan" in raised.value.mend
    assert world.state.blocked == raised.value.sentence
    assert world.state.blocked_mend == raised.value.mend
    assert world.desk.landing.numbers("customers") == landed
    assert world.state.as_of_us == as_of
    assert [name for name, _ in world.events].count("dataset.blocked") == 1
    world.again(dataset("tarif", "tariff"))
    accept(world)
    assert world.run().landed == 1  # what changed meanwhile, from the published position on
    assert world.rows()[3] == ("tarif 3", 77)
    assert len(world.rows()) == ROWS
    assert world.state.blocked == ""


def test_a_new_column_of_other_values_is_not_proposed(legacy: Any) -> None:
    world = legacy()
    world.exec("ALTER TABLE kunden DROP COLUMN tarif", "ALTER TABLE kunden ADD COLUMN tariff varchar(20)")
    world.exec("UPDATE kunden SET tariff = 'fax'")
    with pytest.raises(SourceRefused) as raised:
        world.run()
    assert "tariff" not in raised.value.sentence + raised.value.mend


def test_of_two_new_columns_none_is_proposed(legacy: Any) -> None:
    world = legacy()
    world.rename("tarif", "tariff")
    world.exec("ALTER TABLE kunden ADD COLUMN tarif_neu varchar(20)")
    with pytest.raises(SourceRefused) as raised:
        world.run()
    assert "has come" not in raised.value.sentence


def test_a_renamed_key_is_proposed_by_the_keys_themselves(legacy: Any) -> None:
    world = legacy()
    world.rename("id", "kundennummer")
    with pytest.raises(SourceRefused) as raised:
        world.run()
    assert f"id is gone and kundennummer has come, 100% of {ROWS} values equal" in raised.value.sentence
    key = msgspec.structs.replace(world.dataset.columns[0], source_names=("id", "kundennummer"))
    world.again(msgspec.structs.replace(world.dataset, columns=(key, *world.dataset.columns[1:])))
    accept(world)
    assert world.run().landed == 0
    assert len(world.rows()) == ROWS


def test_a_renamed_cursor_beside_the_contract_is_proposed_as_a_column_of_two_names(legacy: Any) -> None:
    world = legacy()
    world.rename("u", "u2")
    with pytest.raises(SourceRefused) as raised:
        world.run()
    assert f"u is gone and u2 has come, 100% of {ROWS} values equal" in raised.value.sentence
    wanted = "integer" if world.database is not None else "number"  # SQLite holds a bigint to nothing
    assert f"`u: {{type: {wanted}, source_name: [u, u2]}}` last under datasets.customers.columns" in raised.value.mend
    column = Column(name="u", type="integer", source_name="u", source_names=("u", "u2"))
    world.again(msgspec.structs.replace(world.dataset, columns=(*world.dataset.columns, column)))
    accept(world)
    assert world.run().landed == 0
    world.exec("UPDATE kunden SET laufzeit = 77, u2 = 99 WHERE id = 3")
    assert world.run().landed == 1


# --- added ---------------------------------------------------------------------------------------------------------


def test_an_added_column_is_told_once_and_read_on(legacy: Any) -> None:
    world = legacy()
    world.exec("ALTER TABLE kunden ADD COLUMN fax varchar(20)")
    world.run()
    world.run()
    assert [body for kind, body in world.events if kind == "dataset.columns_added"] == [
        {"dataset": "customers", "columns": ["fax"]}
    ]
    (one,) = world.state.drift
    assert (one.change, one.column, one.verdict) == ("added", "fax", Verdict.WARN)
    assert "apply" in one.mend
    world.exec("ALTER TABLE kunden DROP COLUMN fax")
    world.run()
    assert world.state.drift == ()


def test_an_added_column_may_be_ignored(legacy: Any) -> None:
    world = legacy(dataset(added="ignore"))
    world.exec("ALTER TABLE kunden ADD COLUMN fax varchar(20)")
    world.run()
    assert (world.state.drift, [kind for kind, _ in world.events if kind == "dataset.columns_added"]) == ((), [])


# --- lost ----------------------------------------------------------------------------------------------------------


def test_a_lost_column_that_may_be_null_is_read_as_null_with_warn_until_it_is_back(legacy: Any) -> None:
    world = legacy(dataset(lost="as_null"))
    world.rename("tarif", "weg")
    world.exec("UPDATE kunden SET laufzeit = 77, u = 99 WHERE id = 3", f"UPDATE kunden SET u = 0 WHERE id = {ROWS}")
    result = world.run()
    assert result.status == "published"
    assert world.rows()[3] == (None, 77)
    assert 3 in world.warned()
    (finding,) = [one for one in world.batch(result.batch).findings if one.check == "plan.lost"]
    assert finding.verdict is Verdict.WARN
    assert [(one.change, one.column, one.verdict) for one in world.state.drift if one.change == "lost"] == [
        ("lost", "plan", Verdict.WARN)
    ]
    world.rename("weg", "tarif")
    world.run()  # all of it again: what was read without is told again
    assert world.rows()[3] == ("tarif 3", 77)
    assert all(plan for plan, _ in world.rows().values())
    assert world.warned() == set()
    assert [change for change, _ in world.told()] == ["lost", "back"]
    assert not [one for one in world.state.drift if one.change == "lost"]


def test_what_landed_without_the_column_carries_warn_after_it_is_cleaned_again(legacy: Any) -> None:
    world = legacy(dataset(lost="as_null"))
    world.exec("ALTER TABLE kunden DROP COLUMN tarif", "UPDATE kunden SET laufzeit = 77, u = 99 WHERE id = 3")
    world.run()
    before = world.rows(), world.warned()
    now = world.clock.now_us()
    reclean(world.desk, world.runner(), Moment(now, now))
    assert (world.rows(), world.warned()) == before


@pytest.mark.parametrize("column", ["laufzeit", "u"])
def test_a_lost_column_that_is_required_or_bears_the_order_blocks_all_the_same(legacy: Any, column: str) -> None:
    world = legacy(dataset(lost="as_null"))
    world.exec(f"ALTER TABLE kunden DROP COLUMN {column}")
    with pytest.raises(SourceRefused, match=f"column {column} of kunden is gone"):
        world.run()


def test_a_check_that_requires_the_column_blocks_too(legacy: Any) -> None:
    of = dataset(lost="as_null")
    required = Check(name="plan there", kind="required", column="plan")
    world = legacy(msgspec.structs.replace(of, checks=(*of.checks, required)))
    world.exec("ALTER TABLE kunden DROP COLUMN tarif")
    with pytest.raises(SourceRefused, match="tarif of kunden is gone"):
        world.run()


def test_a_column_that_never_was_is_a_mistake_and_not_lost(tmp_path: Path, database: Database | None) -> None:
    world = Legacy(tmp_path, database, dataset("tarief", lost="as_null"))
    with pytest.raises(SourceRefused, match="tarief of kunden is gone"):
        world.run()
    world.close()


# --- retyped, and NULL ---------------------------------------------------------------------------------------------


def retyped(world: Legacy, column: str, native: str) -> None:
    """ALTER COLUMN TYPE; SQLite has none, so the table is made again."""
    if world.database is not None:
        world.exec(f"ALTER TABLE kunden ALTER COLUMN {column} TYPE {native}")
        return
    types = {"id": "integer PRIMARY KEY", "tarif": "varchar(20)", "laufzeit": "integer NOT NULL", "u": "bigint"}
    types[column] = native
    world.exec(
        f"CREATE TABLE neu ({', '.join(f'{name} {one}' for name, one in types.items())})",
        "INSERT INTO neu SELECT * FROM kunden", "DROP TABLE kunden", "ALTER TABLE neu RENAME TO kunden",
    )  # fmt: skip


@pytest.mark.parametrize(("column", "native"), [("tarif", "text"), ("laufzeit", "bigint")])
def test_a_wider_type_is_read_on_and_no_row_is_new_for_it(legacy: Any, column: str, native: str) -> None:
    world = legacy()
    before = world.rows()
    retyped(world, column, native)
    assert world.run().landed == 0
    assert world.rows() == before
    assert ("widened", column) in world.told()
    assert all(one.verdict is Verdict.PASS for one in world.state.drift if one.change == "widened")
    world.run()
    assert world.told().count(("widened", column)) == 1


def test_a_wider_type_blocks_where_the_file_says_so(legacy: Any) -> None:
    world = legacy(dataset(widened="block"))
    retyped(world, "tarif", "text")
    with pytest.raises(SourceRefused, match=r"column tarif was .*20\) and is "):
        world.run()


def test_a_narrower_type_blocks_until_the_file_is_applied(legacy: Any) -> None:
    world = legacy()
    retyped(world, "tarif", "varchar(10)")
    with pytest.raises(SourceRefused, match="column tarif was"):
        world.run()
    accept(world)
    assert world.run().landed == 0


def test_a_whole_number_that_becomes_a_numeric_is_read_on(tmp_path: Path, postgres_db: Database) -> None:
    world = Legacy(tmp_path, postgres_db)
    world.run()
    before = world.rows()
    world.exec("ALTER TABLE kunden ALTER COLUMN laufzeit TYPE numeric")
    world.run()
    assert world.rows() == before
    world.exec("ALTER TABLE kunden ALTER COLUMN id TYPE numeric")  # the text of a key must not change its form
    with pytest.raises(SourceRefused, match="column id was integer and is numeric"):
        world.run()
    world.close()


def test_a_required_column_that_may_be_null_is_told(tmp_path: Path, postgres_db: Database) -> None:
    world = Legacy(tmp_path, postgres_db)
    world.run()
    world.exec("ALTER TABLE kunden ALTER COLUMN laufzeit DROP NOT NULL")
    world.run()
    world.run()
    assert world.told() == [("nullable", "laufzeit")]
    assert world.state.drift[0].verdict is Verdict.WARN
    world.again(dataset(nullable="ignore"))
    world.exec("ALTER TABLE kunden ALTER COLUMN laufzeit SET NOT NULL")
    world.run()
    world.exec("ALTER TABLE kunden ALTER COLUMN laufzeit DROP NOT NULL")
    world.run()
    assert len(world.told()) == 1
    world.close()


# --- files ---------------------------------------------------------------------------------------------------------


def files(folder: Path, *, mode: str, names: tuple[str, ...] = ("tenure",), **drift: str) -> Shop:
    tenure = msgspec.structs.replace(CUSTOMERS.columns[1], source_name=names[0], source_names=names)
    of = msgspec.structs.replace(
        CUSTOMERS, columns=(CUSTOMERS.columns[0], tenure), schema_drift=msgspec.convert(drift, SchemaDrift)
    )
    return Shop(folder, dataset=of, mode=mode, **({"whole": "newest"} if mode == "snapshot" else {}))


@pytest.mark.parametrize("mode", ["increment", "snapshot"])
def test_files_may_bring_a_column_under_its_new_name(tmp_path: Path, mode: str) -> None:
    shop = files(tmp_path, mode=mode, names=("tenure", "laufzeit"))
    shop.drops.drop("1.csv", "id,tenure\na,1\nb,2\n")
    shop.run()
    shop.drops.drop("2.csv", "id,laufzeit\na,1\nb,3\n")
    result = shop.run()
    assert (result.landed, result.noops) == (1, 1)
    assert shop.rows() == {"a": 1, "b": 3}
    close_desk(shop.desk)


def test_one_read_takes_files_of_before_and_after_a_rename(tmp_path: Path) -> None:
    shop = files(tmp_path, mode="increment", names=("tenure", "laufzeit"))
    shop.drops.drop("1.csv", "id,tenure\na,1\n")
    shop.drops.drop("2.csv", "laufzeit,id\n2,b\n")
    assert shop.run().published == 2
    assert shop.rows() == {"a": 1, "b": 2}
    close_desk(shop.desk)


def test_a_file_of_before_a_column_was_lost_still_brings_it(tmp_path: Path) -> None:
    shop = files(tmp_path, mode="increment", lost="as_null")
    shop.drops.drop("1.csv", "id,tenure\na,1\n")
    shop.run()
    shop.drops.drop("2.csv", "id,tenure\na,2\n")
    shop.drops.drop("3.csv", "id\nb\n")
    assert shop.run().published == 2
    assert shop.rows() == {"a": 2, "b": None}
    shop.drops.drop("4.csv", "id,tenure\nb,4\n")
    shop.run()
    assert shop.rows() == {"a": 2, "b": 4}
    close_desk(shop.desk)


@pytest.mark.parametrize("mode", ["increment", "snapshot"])
def test_a_renamed_column_of_files_is_proposed_by_the_values_of_the_new_file(tmp_path: Path, mode: str) -> None:
    shop = files(tmp_path, mode=mode)
    shop.drops.drop("1.csv", "id,tenure\n" + "".join(f"k{n},{n}\n" for n in range(30)))
    shop.run()
    before = shop.desk.dataset_state("customers")
    shop.drops.drop("2.csv", "id,laufzeit\n" + "".join(f"k{n},{n}\n" for n in range(20)))
    with pytest.raises(SourceRefused, match="laufzeit has come, 100% of 20 values equal"):
        shop.run()
    assert shop.desk.dataset_state("customers").cursor == before.cursor
    close_desk(shop.desk)
