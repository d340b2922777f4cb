from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.errors import FileError, Refused
from mainstay.core.keys import joined_key
from mainstay.core.nouns import Column, ColumnType, Dataset, FeatureView
from mainstay.core.sql import DUCKDB_TYPES
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.feature_sql import (
    analyse,
    bound_sql,
    describe,
    feature_set_digest,
    normalised,
    read_columns,
)
from mainstay.quality import sql


def table(name: str, key: str, **columns: ColumnType) -> Dataset:
    listed = tuple(Column(name=column, type=kind, source_name=column) for column, kind in columns.items())
    return Dataset(name=name, source="crm", table=name, key=key, columns=listed)


DATASETS = {
    dataset.name: dataset
    for dataset in (
        table(
            "customers", "customer_id", customer_id="integer", email="string", tenure="integer", charges="integer",
            referrer_id="integer", since="timestamp",
        ),
        table("tickets", "ticket_id", ticket_id="integer", customer_id="integer", opened="timestamp", state="string"),
        table("payments", "payment_id", payment_id="integer", ticket_id="integer", amount="integer"),
        table("rates", "code", code="string", rate="integer"),
        table("letters", "letter_id", letter_id="integer", customer_id="string"),
    )
}  # fmt: skip


def view(text: str, key: str = "customer_id", **mapping: str) -> FeatureView:
    return FeatureView(name="customer", key=key, sql=text, mapping=mapping, path="features/customer.sql")


BOTH = {"customers": "customer_id", "tickets": "customer_id"}

ACCEPTED: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("SELECT customer_id, tenure FROM customers", {}, {"customers": "customer_id"}),
    ("SELECT * FROM customers", {}, {"customers": "customer_id"}),
    ("FROM customers SELECT customer_id AS customer_id, tenure * 2 AS t WHERE tenure > 1", {},
     {"customers": "customer_id"}),
    (("SELECT c.customer_id, count(t.ticket_id) AS n FROM customers c LEFT JOIN tickets t "
     "ON t.customer_id = c.customer_id GROUP BY c.customer_id"), {}, BOTH),
    ("SELECT customer_id, count(*) AS n FROM customers LEFT JOIN tickets USING (customer_id) GROUP BY ALL", {}, BOTH),
    (("SELECT c.customer_id, max(t.opened) AS m FROM customers c, tickets t WHERE c.customer_id = t.customer_id "
     "AND t.state = 'open' GROUP BY 1"), {}, BOTH),
    (("WITH n AS (SELECT customer_id AS who, count(*) AS n FROM tickets GROUP BY customer_id) "
     "SELECT c.customer_id, coalesce(n.n, 0) AS n FROM customers c LEFT JOIN n ON n.who = c.customer_id"), {}, BOTH),
    (("SELECT c.customer_id, s.n FROM customers c JOIN (SELECT customer_id, sum(ticket_id) AS n FROM tickets "
     "GROUP BY 1) s ON s.customer_id = c.customer_id"), {}, BOTH),
    (("SELECT c.customer_id, (SELECT count(*) FROM tickets t WHERE t.customer_id = c.customer_id) AS n "
     "FROM customers c"), {}, BOTH),
    (("SELECT c.customer_id, (SELECT t.state FROM tickets t WHERE t.customer_id = c.customer_id "
     "ORDER BY t.opened DESC, t.ticket_id LIMIT 1) AS s FROM customers c"), {}, BOTH),
    (("SELECT customer_id, EXISTS (SELECT 1 FROM tickets t WHERE t.customer_id = c.customer_id) AS any_ticket "
     "FROM customers c"), {}, BOTH),
    ("SELECT customer_id FROM customers WHERE customer_id IN (SELECT customer_id FROM tickets)", {}, BOTH),
    (("SELECT customer_id FROM customers c WHERE NOT EXISTS (SELECT 1 FROM tickets t "
     "WHERE t.customer_id = c.customer_id)"), {}, BOTH),
    (("SELECT customer_id, state FROM tickets QUALIFY row_number() OVER (PARTITION BY customer_id "
     "ORDER BY ticket_id) = 1"), {}, {"tickets": "customer_id"}),
    (("SELECT customer_id, state FROM tickets WINDOW w AS (PARTITION BY customer_id ORDER BY ticket_id) "
     "QUALIFY row_number() OVER w = 1"), {}, {"tickets": "customer_id"}),
    ("SELECT DISTINCT ON (customer_id) customer_id, state FROM tickets ORDER BY customer_id, ticket_id", {},
     {"tickets": "customer_id"}),
    (("SELECT coalesce(c.customer_id, t.customer_id) AS customer_id, max(tenure) AS m, count(ticket_id) AS n "
     "FROM customers c FULL JOIN tickets t ON c.customer_id = t.customer_id GROUP BY 1"), {}, BOTH),
    ("SELECT customer_id FROM customers UNION SELECT customer_id FROM tickets", {}, BOTH),
    (("SELECT c.customer_id, sum(p.amount) AS s FROM customers c JOIN tickets t USING (customer_id) "
     "JOIN payments p USING (ticket_id) GROUP BY c.customer_id"), {"payments": "all"}, {**BOTH, "payments": "all"}),
    ("SELECT c.customer_id, c.charges * r.m AS x FROM customers c CROSS JOIN (SELECT max(rate) AS m FROM rates) r",
     {"rates": "all"}, {"customers": "customer_id", "rates": "all"}),
    ("SELECT customer_id, charges - avg(charges) OVER () AS x FROM customers", {"customers": "all"},
     {"customers": "all"}),
    ("SELECT c.customer_id, r.tenure FROM customers c JOIN customers r ON r.customer_id = c.referrer_id",
     {"customers": "all"}, {"customers": "all"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "given_mapping", "mapping"), ACCEPTED)
def test_plain_sql_is_understood(text: str, given_mapping: dict[str, str], mapping: dict[str, str]) -> None:
    found = analyse(view(text, **given_mapping), DATASETS)
    assert found.problems == ()
    assert found.mapping == mapping
    assert found.tables == tuple(sorted(mapping))


def test_an_expression_may_be_the_mapping() -> None:
    text = "SELECT lower(email) AS who, sum(charges) AS s FROM customers c GROUP BY lower(c.email)"
    found = analyse(view(text, "who", customers="LOWER(email)"), DATASETS)
    assert found.problems == ()
    assert found.mapping == {"customers": "LOWER(email)"}


REFUSED: list[tuple[str, dict[str, str], str]] = [
    ("SELECT customer_id, now() AS n FROM customers", {}, r"now\(\) moves"),
    ("SELECT customer_id, current_date AS n FROM customers", {}, r"current_date\(\) moves"),
    ("SELECT customer_id, current_timestamp AS n FROM customers", {}, "moves while nothing changes"),
    ("SELECT customer_id, current_time AS n FROM customers", {}, "moves while nothing changes"),
    ("SELECT customer_id, age(since) AS n FROM customers", {}, "measures from today"),
    ("SELECT customer_id, random() AS n FROM customers", {}, r"random\(\) is not decided"),
    ("SELECT customer_id, uuid() AS n FROM customers", {}, "is not decided by the data"),
    ("SELECT customer_id, nextval('s') AS n FROM customers", {}, "is not decided by the data"),
    ("SELECT customer_id, getvariable('s') AS n FROM customers", {}, "is not decided by the data"),
    ("SELECT customer_id, $other AS n FROM customers", {}, "only parameter"),
    ("SELECT customer_id, ? AS n FROM customers", {}, "only parameter"),
    ("SELECT customer_id, rowid AS n FROM customers", {}, "rowid"),
    ("SELECT customer_id FROM read_csv('x.csv')", {}, "table function"),
    ("SELECT customer_id FROM read_parquet('x')", {}, "table function"),
    ("SELECT customer_id FROM customers, range(3)", {}, "table function"),
    ("SELECT customer_id FROM glob('*')", {}, "table function"),
    ("SELECT customer_id FROM 'customers.parquet'", {}, "no dataset called"),
    ("SELECT customer_id FROM custmers", {}, "no dataset called custmers"),
    ("SELECT customer_id FROM other.customers", {}, r"no dataset called other\.customers"),
    ("SELECT customer_id, unnest([1, 2]) AS n FROM customers", {}, "rows of their own"),
    ("SELECT customer_id FROM customers TABLESAMPLE 10%", {}, "a sample"),
    ("SELECT customer_id FROM customers USING SAMPLE 10", {}, "a sample"),
    ("SELECT * FROM customers POSITIONAL JOIN rates", {}, "POSITIONAL"),
    ("SELECT COLUMNS('c.*') FROM customers", {}, "not named"),
    ("ATTACH 'x.db'", {}, "wanted one SELECT"),
    ("PRAGMA version", {}, "wanted one SELECT"),
    ("SELECT 1; SELECT 2", {}, "wanted one SELECT"),
    ("", {}, "wanted one SELECT"),
    ("SELECT FROM WHERE", {}, "does not parse"),
    ("SELECT 1 AS customer_id", {}, "reads no dataset"),
    ("SELECT tenure FROM customers", {}, "gives no column customer_id"),
    ("SELECT customer_id, nothing FROM customers", {}, "nothing"),
    ("SELECT customer_id, tenure FROM customers LIMIT 3", {}, "LIMIT without ORDER BY"),
    ("SELECT customer_id, tenure FROM customers ORDER BY tenure LIMIT 3", {}, "LIMIT chooses among"),
    ("SELECT customer_id, rank() OVER (ORDER BY charges) AS r FROM customers", {}, "rows of all keys"),
    ("SELECT customer_id, avg(charges) OVER (PARTITION BY email) AS r FROM customers", {}, "rows of all keys"),
    ("SELECT max(customer_id) AS customer_id, avg(charges) AS a FROM customers GROUP BY email",
     {"customers": "customer_id"}, "rows of all keys"),
    ("SELECT customer_id, charges - (SELECT avg(charges) FROM customers) AS x FROM customers",
     {"customers": "customer_id"}, "rows of all keys"),
    ("SELECT customer_id, (SELECT favg(rate) FROM rates) AS x FROM customers", {"rates": "rate"}, "rows of all keys"),
    ("SELECT DISTINCT ON (state) customer_id, state FROM tickets", {}, "DISTINCT ON"),
    ("SELECT customer_id FROM customers WHERE customer_id NOT IN (SELECT customer_id FROM tickets)",
     {"tickets": "customer_id"}, "NOT IN"),
    ("SELECT customer_id, EXISTS (SELECT 1 FROM tickets WHERE state = 'x') AS e FROM customers",
     {"tickets": "customer_id"}, "a subquery sees the rows of all keys"),
    ("SELECT customer_id FROM customers", {"customers": "customer"}, "no column customer"),
    ("SELECT customer_id FROM customers", {"customers": "max(customer_id)"}, "beyond its row"),
    ("SELECT c.customer_id FROM customers c JOIN letters l ON l.customer_id = c.customer_id", {}, "several types"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "given_mapping", "why"), REFUSED)
def test_what_cannot_be_kept_current_is_refused(text: str, given_mapping: dict[str, str], why: str) -> None:
    found = analyse(view(text, **given_mapping), DATASETS)
    failed = [problem for problem in found.problems if problem.verdict is Verdict.FAIL]
    assert failed
    with pytest.raises(AssertionError, match=why):
        raise AssertionError("; ".join(problem.sentence for problem in failed))
    assert all(problem.mend for problem in failed)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (("SELECT c.customer_id, p.amount FROM customers c JOIN tickets t USING (customer_id) "
         "JOIN payments p USING (ticket_id)"), "from: {customers: customer_id, payments: all, tickets: customer_id}"),
        ("SELECT c.customer_id, r.rate FROM customers c, rates r", "from: {customers: customer_id, rates: all}"),
        ("SELECT c.customer_id, r.tenure FROM customers c JOIN customers r ON r.customer_id = c.referrer_id",
         "from: {customers: all}"),
        (("WITH a AS (SELECT customer_id, referrer_id FROM customers) SELECT x.customer_id FROM a x "
         "JOIN a y ON x.referrer_id = y.customer_id"), "from: {customers: all}"),
        ("SELECT customer_id + 1 AS customer_id FROM customers", "from: {customers: all}"),
        ("SELECT c.customer_id FROM customers c JOIN tickets t ON t.customer_id = c.customer_id OR t.state = 'x'",
         "from: {customers: customer_id, tickets: all}"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_inferred_prints_the_line_to_type(text: str, line: str) -> None:
    (problem,) = analyse(view(text), DATASETS).problems
    assert problem.verdict is Verdict.FAIL
    assert f"write `{line}`" in problem.mend


def test_what_is_merely_doubtful_warns() -> None:
    text = "SELECT customer_id, any_value(tenure) AS t, approx_count_distinct(email) AS e FROM customers GROUP BY 1"
    found = analyse(view(text, tickets="customer_id"), DATASETS)
    assert {problem.verdict for problem in found.problems} == {Verdict.WARN}
    sentences = " ".join(problem.sentence for problem in found.problems)
    assert "any_value() takes rows in any order" in sentences
    assert "approx_count_distinct() is approximate" in sentences
    assert "tickets, which the SQL does not read" in sentences
    unseen = "SELECT c.customer_id, t.state FROM customers c JOIN tickets t ON t.state = c.email"
    (problem,) = analyse(view(unseen, tickets="customer_id"), DATASETS).problems
    assert (problem.verdict, "joins do not show" in problem.sentence) == (Verdict.WARN, True)


def test_as_of_is_seen() -> None:
    text = "SELECT customer_id, date_diff('day', since, $as_of) AS days FROM customers"
    assert analyse(view(text), DATASETS).uses_as_of
    assert describe(view(text), DATASETS) == (("integer",), (("customer_id", "integer"), ("days", "integer")))
    assert not analyse(view("SELECT customer_id FROM customers"), DATASETS).uses_as_of


# --- incremental equals full -----------------------------------------------------------------------------------------

small = st.one_of(st.none(), st.integers(0, 3))
states = st.sampled_from(["open", "done", None])
moments = st.one_of(st.none(), st.integers(0, 3).map(lambda day: datetime(2024, 1, day + 1)))  # noqa: DTZ001
contents_of_all = st.fixed_dictionaries(
    {
        "customers": st.lists(
            st.tuples(st.integers(0, 2), st.just("e"), small, st.integers(0, 9), small, moments),
            max_size=5,
            unique_by=lambda row: row[0],
        ),
        "tickets": st.lists(
            st.tuples(st.integers(0, 9), small, moments, states), max_size=5, unique_by=lambda row: row[0]
        ),
        "payments": st.lists(
            st.tuples(st.integers(0, 9), small, st.integers(0, 9)), max_size=4, unique_by=lambda row: row[0]
        ),
        "rates": st.lists(st.tuples(st.just("x"), st.integers(0, 9)), max_size=2),
    }
)


def result(
    db: duckdb.DuckDBPyConnection,
    text: str,
    contents: dict[str, list[Sequence[Any]]],
    mapping: dict[str, str],
    *,
    key: str,
) -> tuple[set[Any], set[Any]]:
    """Rows of the key: out of the whole, and where the SQL sees only rows that map to the key."""
    for name, value in mapping.items():
        columns = ", ".join(f"{sql.name(c.name)} {DUCKDB_TYPES[c.type]}" for c in DATASETS[name].columns)
        db.execute(f"CREATE OR REPLACE TABLE all_{name} ({columns})")
        if contents[name]:
            db.executemany(f"INSERT INTO all_{name} VALUES ({', '.join('?' * len(contents[name][0]))})", contents[name])
        only = "" if value == "all" else f" WHERE CAST({value} AS VARCHAR) = '{key}'"
        db.execute(f"CREATE OR REPLACE VIEW full_{name} AS SELECT * FROM all_{name}")
        db.execute(f"CREATE OR REPLACE VIEW part_{name} AS SELECT * FROM all_{name}{only}")
    found = []
    for which in ("full", "part"):
        for name in mapping:
            db.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {which}_{name}")
        rows = db.execute(f"SELECT * FROM ({bound_sql(view(text))}) WHERE CAST(customer_id AS VARCHAR) = '{key}'")
        found.append(set(rows.fetchall()))
    return found[0], found[1]


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@pytest.mark.parametrize(("text", "_given", "mapping"), ACCEPTED)
@settings(max_examples=8)
@given(contents=contents_of_all)
def test_what_is_accepted_gives_a_key_the_row_that_the_whole_gives(
    db: duckdb.DuckDBPyConnection,
    text: str,
    _given: dict[str, str],
    mapping: dict[str, str],
    contents: dict[str, list[Sequence[Any]]],
) -> None:
    full, incremental = result(db, text, contents, mapping, key="1")
    assert incremental == full


# --- what it reads and gives -----------------------------------------------------------------------------------------


def test_columns_read_are_named_with_their_types() -> None:
    text = (
        "SELECT c.customer_id, count(*) AS n, max(t.opened) AS m FROM customers c "
        "JOIN tickets t USING (customer_id) WHERE c.tenure > 1 GROUP BY 1"
    )
    assert read_columns(view(text), DATASETS) == {
        "customers": (("customer_id", "integer"), ("tenure", "integer")),
        "tickets": (("customer_id", "integer"), ("opened", "timestamp")),
    }
    every = tuple((column.name, column.type) for column in DATASETS["rates"].columns)
    assert read_columns(view("SELECT * FROM rates", "code"), DATASETS) == {"rates": every}
    with pytest.raises(Refused, match="no dataset called nope"):
        read_columns(view("SELECT * FROM nope"), DATASETS)


def test_types_of_the_result_are_named_in_our_words() -> None:
    text = """
        SELECT customer_id, email, charges / 3 AS share, tenure > 3 AS loyal, since, since::DATE AS day,
               sum(charges) AS total, 1.5 AS half, tenure::UTINYINT AS small, '{}'::JSON AS doc, 'x'::BLOB AS raw
        FROM customers GROUP BY ALL
    """
    key, columns = describe(view(text), DATASETS)
    assert key == ("integer",)
    assert dict(columns) == {
        "customer_id": "integer",
        "email": "string",
        "share": "number",
        "loyal": "boolean",
        "since": "timestamp",
        "day": "date",
        "total": "number",
        "half": "number",
        "small": "integer",
        "doc": "json",
        "raw": "bytes",
    }


def test_describing_works_in_a_connection_handed_in() -> None:
    with duckdb.connect() as own:
        assert describe(view("SELECT customer_id FROM customers"), DATASETS, own)[0] == ("integer",)
        assert own.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("SELECT customer_id,\n  nothing FROM customers", 2, 'Referenced column "nothing" not found'),
        ("SELECT customer_id FROM customers\nWHERE nofun(tenure)", 2, "Scalar Function with name nofun does not exist"),
        ("SELECT customer_id, tenure + since FROM customers", 1, "No function matches"),
        ("SELECT customer_id, [1] AS l FROM customers", 0, "l of type INTEGER[]"),
        ("SELECT customer_id, {'a': 1} AS s FROM customers", 0, "s of type STRUCT"),
        ("SELECT customer_id, since::TIMESTAMPTZ AS z FROM customers", 0, "z of type TIMESTAMP WITH TIME ZONE"),
        ("SELECT customer_id, tenure, charges AS Tenure FROM customers", 0, "more than once"),
        ("SELECT tenure FROM customers", 0, "tenure"),
        ("SELECT customer_id FROM read_csv('/etc/passwd')", 1, "disabled"),
    ],
)
def test_what_duckdb_refuses_is_located_in_the_file(text: str, line: int, said: str) -> None:
    with pytest.raises(FileError) as refused:
        describe(view(text), DATASETS)
    (problem,) = refused.value.problems
    assert problem.file == "features/customer.sql"
    assert problem.line == line
    assert said in problem.came


def test_the_sql_is_safe_to_stand_in_brackets() -> None:
    for text in (
        "SELECT 1 AS a",
        "SELECT 1 AS a;",
        "SELECT 1 AS a -- the end",
        "SELECT 1 AS a; -- the end",
        "SELECT 1 AS a ;;",
    ):
        assert duckdb.execute(f"SELECT a FROM ({bound_sql(view(text))})").fetchall() == [(1,)]


# --- the digest ------------------------------------------------------------------------------------------------------


def digest(text: str, key: str = "customer_id", **mapping: str) -> str:
    made = view(text, key)
    return feature_set_digest(made, mapping, {"customers": [("tenure", "integer")]}, [("tenure", "integer")])


def test_the_digest_is_of_what_is_computed() -> None:
    base = digest("SELECT customer_id FROM customers", customers="customer_id")
    same = digest("select  customer_id -- why\nfrom /* which */ customers ;", customers="customer_id")
    assert same == base
    others = [
        digest("SELECT customer_id, 1 FROM customers", customers="customer_id"),
        digest("SELECT customer_id FROM customers", customers="all"),
        digest("SELECT customer_id FROM customers", "id", customers="customer_id"),
        digest("SELECT 'customer_id' FROM customers", customers="customer_id"),
        digest('SELECT "customer_id" FROM customers', customers="customer_id"),
    ]
    made = view("SELECT customer_id FROM customers")
    mapping = {"customers": "customer_id"}
    others += [
        feature_set_digest(made, mapping, {"customers": [("tenure", "number")]}, [("tenure", "integer")]),
        feature_set_digest(made, mapping, {"customers": [("tenure", "integer")]}, [("tenure", "number")]),
    ]
    assert len({base, *others}) == len(others) + 1


@given(st.lists(st.sampled_from([" ", "\n", "\t", " /* x */ ", " -- y\n"]), min_size=5, max_size=5))
def test_white_space_and_comments_change_nothing(spaces: list[str]) -> None:
    words = ["SELECT", "customer_id", "FROM", "customers", "WHERE", "email = 'A  b'"]
    text = "".join(word + space for word, space in zip(words, [*spaces, ""], strict=True))
    assert normalised(text) == "SELECT customer_id FROM customers WHERE email = 'A  b'"


LINES = {
    dataset.name: dataset
    for dataset in (
        table("lines", joined_key(("order_id", "line_no")), order_id="string", line_no="integer", qty="integer"),
        table("notes", "note_id", note_id="integer", order_id="string", line="integer", said="string"),
        table("orders", "order_id", order_id="string", channel="string", odd="integer"),
    )
}
PAIR = joined_key(("order_id", "line_no"))


def of_lines(text: str, **mapping: str) -> FeatureView:
    return view(text, PAIR, **mapping)


@pytest.mark.parametrize(
    ("text", "given_", "found"),
    [
        ("SELECT order_id, line_no, qty FROM lines", {}, {"lines": PAIR}),
        ("SELECT order_id, line_no, sum(qty) AS q FROM lines GROUP BY line_no, order_id", {}, {"lines": PAIR}),
        (
            (
                "SELECT l.order_id, l.line_no, count(n.note_id) AS n FROM lines l LEFT JOIN notes n "
                "ON n.order_id = l.order_id AND n.line = l.line_no GROUP BY ALL"
            ),
            {},
            {"lines": PAIR, "notes": joined_key(("order_id", "line"))},
        ),
        (
            "SELECT order_id, line_no, row_number() OVER (PARTITION BY order_id, line_no ORDER BY qty) AS r FROM lines",
            {},
            {"lines": PAIR},
        ),
        (
            "SELECT l.order_id, l.line_no, o.channel FROM lines l JOIN orders o USING (order_id)",
            {"orders": "all"},
            {"lines": PAIR, "orders": "all"},
        ),
        (
            (
                "SELECT l.order_id, l.line_no, (SELECT max(n.said) FROM notes n WHERE n.order_id = l.order_id "
                "AND n.line = l.line_no) AS said FROM lines l"
            ),
            {},
            {"lines": PAIR, "notes": joined_key(("order_id", "line"))},
        ),
        (
            (
                "SELECT l.order_id, l.line_no, count(*) AS n FROM lines l JOIN notes n ON n.order_id = l.order_id "
                "AND n.line + 1 = l.line_no GROUP BY ALL"
            ),
            {"notes": joined_key(("order_id", "line + 1"))},
            {"lines": PAIR, "notes": joined_key(("order_id", "line + 1"))},
        ),
    ],
)
def test_a_key_of_several_columns_is_mapped_column_by_column(
    text: str, given_: dict[str, str], found: dict[str, str]
) -> None:
    analysis = analyse(of_lines(text, **given_), LINES)
    assert [one.sentence for one in analysis.problems if one.verdict is Verdict.FAIL] == []
    assert analysis.mapping == found


@pytest.mark.parametrize(
    ("text", "given_", "told"),
    [
        ("SELECT order_id, qty FROM lines", {}, "no column line_no"),
        ("SELECT order_id, max(line_no) AS line_no FROM lines GROUP BY order_id", {}, "maps to (order_id, line_no)"),
        (
            "SELECT order_id, line_no, sum(qty) OVER (PARTITION BY order_id) AS q FROM lines",
            {},
            "goes over the rows of all keys",
        ),
        ("SELECT l.order_id, l.line_no, channel FROM lines l JOIN orders USING (order_id)", {}, "of orders maps to"),
        (
            (
                "SELECT l.order_id, l.line_no, (SELECT max(n.said) FROM notes n WHERE n.order_id = l.order_id) AS said "
                "FROM lines l"
            ),
            {"notes": joined_key(("order_id", "line"))},
            "goes over the rows of all keys",
        ),
        ("SELECT order_id, line_no FROM lines", {"lines": "order_id"}, "has 1 for (order_id, line_no)"),
        ("SELECT order_id, line_no FROM lines", {"lines": joined_key(("order_id", "lime"))}, "lime"),
        (
            "SELECT l.order_id, l.line_no FROM lines l JOIN orders o USING (order_id) WHERE o.channel = l.line_no",
            {},
            "the key's line_no has several types: lines.line_no is integer, orders.channel is string",
        ),
    ],
)
def test_what_keeps_to_a_part_of_the_key_is_refused(text: str, given_: dict[str, str], told: str) -> None:
    problems = [one for one in analyse(of_lines(text, **given_), LINES).problems if one.verdict is Verdict.FAIL]
    assert any(told in one.sentence for one in problems), problems


def test_the_types_of_each_part_are_told_and_must_name_rows() -> None:
    assert describe(of_lines("SELECT order_id, line_no, qty FROM lines"), LINES)[0] == ("string", "integer")
    with pytest.raises(FileError, match="line_no of type number"):
        describe(of_lines("SELECT order_id, line_no / 2 AS line_no FROM lines"), LINES)
