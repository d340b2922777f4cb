"""Which features are personal is read out of the SQL: whatever is made of a marked column, by whatever way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mainstay.core.nouns import Column, Dataset, FeatureView
from mainstay.pipelines import sets
from mainstay.pipelines.feature_personal import personal_columns
from tests.pipelines.world import CUSTOMERS, World


def dataset(name: str, *columns: str) -> Dataset:
    """Columns that begin with `p_` are marked."""
    made = tuple(Column(name=one, source_name=one, type="string", pii=one.startswith("p_")) for one in columns)
    return Dataset(name=name, source="crm", table=name, key=columns[0], columns=made)


DATASETS = {
    "customers": dataset("customers", "id", "p_mail", "city"),
    "tickets": dataset("tickets", "number", "customer", "p_text"),
}


@pytest.mark.parametrize(
    ("sql", "personal"),
    [
        ("SELECT id, city FROM customers", ()),
        ("SELECT id, p_mail FROM customers", ("p_mail",)),
        ("SELECT id, upper(P_MAIL) AS Mail, city AS town FROM customers", ("mail",)),
        ("SELECT * FROM customers", ("p_mail",)),
        ("SELECT id, city FROM customers WHERE p_mail IS NOT NULL", ()),
        ("WITH w AS (SELECT id, length(p_mail) AS n FROM customers) SELECT w.id, w.n + 1 AS m FROM w", ("m",)),
        ("SELECT id, x.y FROM (SELECT id, p_mail AS y, city FROM customers) AS x", ("y",)),
        (
            "SELECT c.id, max(t.p_text) AS last FROM customers c JOIN tickets t ON t.customer = c.id GROUP BY c.id",
            ("last",),
        ),
        ("SELECT c.id, count(t.number) AS n FROM customers c JOIN tickets t ON t.customer = c.id GROUP BY c.id", ()),
        ("SELECT id, city AS it FROM customers UNION ALL SELECT id, p_mail FROM customers", ("it",)),
        (
            "SELECT id, (SELECT max(t.p_text) FROM tickets t WHERE t.customer = c.id) AS last FROM customers c",
            ("last",),
        ),
        (
            (
                "WITH w AS (SELECT id, p_mail AS m FROM customers) "
                "SELECT c.id, (SELECT max(k.m) FROM w AS k WHERE k.id = c.id) AS last FROM customers c"
            ),
            ("last",),
        ),
        ("SELECT c.id, l.y FROM customers c, LATERAL (SELECT c.p_mail AS y) l", ("y",)),
        ("SELECT c.id, l.y FROM customers c, LATERAL (SELECT c.city AS y) l", ()),
        (
            (
                "SELECT id, city AS a, city AS b FROM customers UNION ALL BY NAME "
                "SELECT p_mail AS b, city AS a, id FROM customers"
            ),
            ("b",),
        ),
        ("SELECT p_mail AS id, city FROM customers", ("id",)),
        ("SELECT nothing FROM nowhere", ("p_mail", "p_text")),
    ],
)
def test_what_is_made_of_a_marked_column_is_personal(sql: str, personal: tuple[str, ...]) -> None:
    assert personal_columns(FeatureView(name="customer", key="id", sql=sql), DATASETS) == personal


def test_where_nothing_is_marked_nothing_is_read() -> None:
    plain = {"customers": dataset("customers", "id", "city")}
    assert personal_columns(FeatureView(name="customer", key="id", sql="no SQL at all"), plain) == ()


def test_sets_that_were_made_before_are_marked_when_the_loop_starts(tmp_path: Path) -> None:
    columns = tuple(msgspec.structs.replace(one, pii=one.name == "plan") for one in CUSTOMERS.columns)
    world = World(tmp_path, customers=msgspec.structs.replace(CUSTOMERS, columns=columns))
    digest = world.feature_set.digest
    desk = world.desk
    made = desk.feature_sets.get(digest)
    assert made is not None
    desk.feature_sets.put(digest, msgspec.structs.replace(made, personal=()), token=desk.token)
    sets.recover(desk)
    again = desk.feature_sets.get(digest)
    assert again is not None
    assert again.personal == ("plan",)
    world.close()
