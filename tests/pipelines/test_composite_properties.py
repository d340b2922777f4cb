"""The promises of test_properties, where several columns name a row, one of them made by an expression."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.keys import joined_key, parted_key
from mainstay.core.nouns import Check, FeatureView
from mainstay.store.current import schema_of
from tests.pipelines.test_properties import QUICK, STOP, Act, changes, no_op, playing, run, stop
from tests.pipelines.world import CUSTOMERS, TICKETS, with_checks

KEYED = msgspec.structs.replace(
    with_checks(CUSTOMERS, STOP, Check(name="plan.required", kind="required", column="plan")),
    key=joined_key(("id", "plan")),
)
TAGGED = msgspec.structs.replace(
    with_checks(TICKETS, Check(name="customer.required", kind="required", column="customer")),
    key=joined_key(("customer", "ticket")),
)
VIEW = FeatureView(
    name="customer",
    key=joined_key(("id", "plan")),
    mapping={"customers": KEYED.key, "tickets": joined_key(("customer", "chr(96 + severity::INTEGER)"))},
    sql="SELECT c.id, c.plan, c.tenure, count(t.ticket) AS tickets, sum(t.severity) AS severity FROM customers c "
    "LEFT JOIN tickets t ON t.customer = c.id AND chr(96 + t.severity::INTEGER) = c.plan "
    "GROUP BY c.id, c.plan, c.tenure",
)
hands = st.sampled_from([("replay",), ("discard row",), ("release",), ("discard batch",)])
acts = st.lists(st.one_of(changes, changes, changes, run, run, stop, hands), min_size=6, max_size=24)


@pytest.mark.promise(3)
@given(acts)
@QUICK
def test_incremental_equals_full_for_keys_of_several_columns(acts: list[Act]) -> None:
    with playing(customers=KEYED, tickets=TAGGED, view=VIEW) as play:
        play.world.customer(1, u=0)
        play.world.ticket(1, 1)
        play.world.both()
        for act in acts:
            play.do(act)
            if act[0] in ("run", "replay", "discard row", "release", "discard batch"):
                play.look()
        for name in ("customers", "tickets"):
            play.world.run(name)
        play.look()
        no_op(play.world)
        keys = [k for (k,) in play.world.desk.current.sql(f"SELECT _k FROM {schema_of('customers')}.rows")]
        assert all(len(parted_key(key, 2)) == 2 for key in keys)
