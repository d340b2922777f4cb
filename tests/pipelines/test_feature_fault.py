"""Feature SQL that fails on one value: which row and feature it was, without the value or the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.app.commands import ask
from mainstay.core.errors import Refused
from mainstay.serving.reply import Answer
from tests.app.shop import RULE, Shop

CAST = "SELECT c.customer_id, c.tenure, CAST(c.city AS INTEGER) AS city FROM customers c"


def failed(world: Shop) -> str:
    """What the run of the only dataset says."""
    with pytest.raises(Refused) as told:
        world.run()
    return told.value.sentence


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    made = Shop(tmp_path, rows=11)
    made.exec("UPDATE customers SET city = tenure")
    return made


def test_the_row_and_the_feature_are_named_and_neither_key_nor_value(world: Shop) -> None:
    world.begin(model=RULE, sql=CAST)
    world.exec(
        "UPDATE customers SET city = city + 1", "UPDATE customers SET city = 'x1' WHERE customer_id = 'person-0007'"
    )
    said = failed(world)
    assert "one row (customers batch 2, ordinal 6, feature city): ConversionException" in said
    assert "x1" not in said
    assert "person-0007" not in said
    (answer,) = world.predict("person-0007")
    assert isinstance(answer, Answer), "what was published last goes on answering"
    assert "one row (customers batch 2, ordinal 6, feature city)" in failed(world), "after a restart too"


def test_it_is_named_of_the_first_publishing_too(world: Shop) -> None:
    world.exec("UPDATE customers SET city = 'x1' WHERE customer_id IN ('person-0007', 'person-0009')")
    world.apply(model=RULE, sql=CAST)
    assert "one row (customers batch 1, ordinal 6, feature city)" in failed(world)


def test_no_row_is_blamed_where_the_sql_fails_on_what_all_keys_see(world: Shop) -> None:
    world.exec("UPDATE customers SET city = 'x1' WHERE customer_id = 'person-0007'")
    most = "SELECT max(CAST(d.city AS INTEGER)) AS most FROM customers d"
    sql = f'"SELECT c.customer_id, c.tenure, m.most AS city FROM customers c CROSS JOIN ({most}) m"'
    world.write(model=RULE, sql=sql)
    world.file.write_text(
        world.file.read_text().replace(
            "    key: customer_id\n    sql", "    key: customer_id\n    from: {customers: all}\n    sql"
        )
    )
    ask(world.place, "apply", {})
    assert "cannot be evaluated on these rows: ConversionException" in failed(world)
