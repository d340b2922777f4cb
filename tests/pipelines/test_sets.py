"""What a view means is worked out once, and anew as soon as anything that it stands on says something else."""

from __future__ import annotations

import msgspec
import pytest

from mainstay.core.errors import MainstayError
from mainstay.core.nouns import Column, ColumnType, Dataset, FeatureView
from mainstay.pipelines.sets import describe_set

VIEW = FeatureView(name="customer", key="id", sql="SELECT id, tenure FROM customers")


def customers(tenure: ColumnType) -> dict[str, Dataset]:
    columns = (
        Column(name="id", type="integer", source_name="id"),
        Column(name="tenure", type=tenure, source_name="tenure"),
    )
    return {"customers": Dataset(name="customers", source="crm", table="customers", key="id", columns=columns)}


def test_the_same_is_the_same_again() -> None:
    assert describe_set(VIEW, customers("integer")) is describe_set(VIEW, customers("integer"))


def test_another_type_or_another_sql_is_another_feature_set() -> None:
    first = describe_set(VIEW, customers("integer"))
    second = describe_set(VIEW, customers("string"))
    assert (first.columns, second.columns) == ((("tenure", "integer"),), (("tenure", "string"),))
    third = describe_set(
        msgspec.structs.replace(VIEW, sql="SELECT id, tenure + 1 AS t FROM customers"), customers("integer")
    )
    assert third.columns == (("t", "integer"),)
    assert len({first.digest, second.digest, third.digest}) == 3


def test_what_is_refused_is_refused_each_time() -> None:
    wrong = msgspec.structs.replace(VIEW, sql="SELECT id, tenur FROM customers")
    for _ in range(2):
        with pytest.raises(MainstayError, match="tenur"):
            describe_set(wrong, customers("integer"))
