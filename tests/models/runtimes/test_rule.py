"""Rules: expressions over one row that give the same answer every time."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import LoadedModel
from mainstay.models.runtimes.rule import RuleRuntime

INPUTS = (
    Field(name="tenure", type="integer"),
    Field(name="charges", type="number"),
    Field(name="Monthly plan", type="string"),
    Field(name="since", type="date"),
    Field(name="called", type="timestamp"),
    Field(name="active", type="boolean"),
)
NOTHING = (None,) * len(INPUTS)


def load(rule: str, kind: Any = "number") -> LoadedModel:
    signature = Signature(inputs=INPUTS, outputs=(Field(name="risk", type=kind),))
    return RuleRuntime().load(None, signature, {"rules": {"risk": rule}})


def one(rule: str, row: tuple[Any, ...] = NOTHING, kind: Any = "number") -> Any:
    with closing(load(rule, kind)) as model:
        return model.predict([row])[0][0]


@pytest.mark.parametrize(
    "rule",
    [
        "now()", "random()", "current_date", "current_timestamp", "today()", '"now"()', "uuid()::varchar::double",
        "age(called)", "current_localtimestamp()", "getvariable('x')", "charges.random()", "pg_postmaster_start_time()",
        "(SELECT 1)", "avg(tenure)", "sum(tenure) OVER ()", "row_number() OVER ()", "unnest([1, 2])", "__row",
        "1); SELECT 2; --", "1) FROM x --", "$1", "nope", "charges +", "", "-- nothing", "'unfinished",
    ],
)  # fmt: skip
def test_what_is_no_expression_over_one_row_is_refused(rule: str) -> None:
    with pytest.raises(ModelRefused):
        load(rule)


def test_files_cannot_be_reached(tmp_path: Any) -> None:
    for rule in ("length(getenv('HOME'))", f"(FROM '{tmp_path}/x.csv')", "read_text('/etc/passwd')"):
        with pytest.raises(ModelRefused):
            load(rule, "string")


def test_inputs_and_outputs_have_their_types() -> None:
    row = (6, 29.5, "two -- years", "2020-02-29", 1_582_934_400_000_000, True)
    assert one("tenure // 4", row, "integer") == 1
    assert one("\"Monthly plan\" || '!'", row, "string") == "two -- years!"
    assert one("since + INTERVAL 1 DAY", row, "date") == "2020-03-01"
    assert one("called + INTERVAL 1 SECOND", row, "timestamp") == 1_582_934_401_000_000
    assert one("active AND tenure > 5", row, "boolean") is True
    assert one("tenure / 4 -- months to quarters", row) == 1.5
    assert one("CASE WHEN charges IS NULL THEN 0.5 END") == 0.5
    assert one("charges") is None


def test_a_column_called_like_a_clock_is_a_column() -> None:
    signature = Signature(inputs=(Field(name="today", type="number"),), outputs=(Field(name="risk", type="number"),))
    with closing(RuleRuntime().load(None, signature, {"rules": {"risk": "today * 2"}})) as model:
        assert model.predict([(4.0,)]) == [(8.0,)]


def test_each_output_needs_its_rule() -> None:
    signature = Signature(inputs=INPUTS, outputs=(Field(name="risk", type="number"),))
    with pytest.raises(ModelRefused, match="risk"):
        RuleRuntime().load(None, signature, {"rules": {"other": "1"}})


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.none() | st.integers(-1000, 1000), st.none() | st.floats(-1e6, 1e6)), max_size=40))
def test_many_rows_are_the_same_as_each_alone(rule_model: LoadedModel, rows: list[tuple[Any, ...]]) -> None:
    full = [(*row, *NOTHING[2:]) for row in rows]
    wanted = [(None if tenure is None or charges is None else tenure * 2.0 + charges,) for tenure, charges in rows]
    assert rule_model.predict(full) == wanted


@pytest.fixture(scope="module")
def rule_model() -> Any:
    with closing(load("tenure * 2.0::DOUBLE + charges")) as model:
        yield model
