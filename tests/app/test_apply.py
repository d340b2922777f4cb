"""Applying a file: the plan is what is performed, and what a change means for data, features and answers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mainstay.app import apply as applying
from mainstay.app.check import check
from mainstay.app.commands import ask
from mainstay.app.events import EventTail
from mainstay.app.models import hindrance, retire_model, shop, use_model
from mainstay.app.place import need_applied, read_file
from mainstay.app.status import read_status
from mainstay.app.up import apply_at_start
from mainstay.app.wiring import own
from mainstay.core.clock import SystemClock
from mainstay.core.errors import MainstayError, Refused, SourceError
from mainstay.core.verdicts import Verdict
from mainstay.serving.reply import Answer, Refusal
from tests.app.shop import COLUMNS, CONSTANT, RULE, Shop

PLAN = COLUMNS + "      plan: {type: string}\n"
WITH_PLAN = "SELECT c.customer_id, c.tenure, c.city, c.plan FROM customers c"
BY_PLAN = "rule: {churn_probability: \"CASE WHEN plan = 'gold' THEN 0.9 ELSE 0.1 END\"}"


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_the_first_file_is_planned_and_performed_step_by_step(world: Shop) -> None:
    world.write()
    planned = world.plan()
    assert not (world.folder / "contracts").exists()
    assert world.kinds() == [
        "make_dataset", "add_feature_set", "new_version", "store_file", "write_contract", "use_version",
    ]  # fmt: skip
    assert world.apply() == [step["sentence"] for step in planned["steps"]]
    assert (world.folder / "contracts" / "api-1.json").is_file()
    assert world.kinds() == []
    world.run()
    assert world.outputs() == {"churn_probability": 0.26}


def test_a_file_that_changed_after_its_plan_was_shown_is_not_applied(world: Shop) -> None:
    world.begin()
    digest = world.plan()["digest"]
    world.write(model=CONSTANT.replace("0.26", "0.5"))
    with pytest.raises(Refused, match="changed since"):
        ask(world.place, "apply", {"digest": digest})
    assert world.outputs() == {"churn_probability": 0.26}


def test_a_pattern_that_re2_does_not_know_is_refused_before_it_is_applied(world: Shop) -> None:
    world.begin()
    world.write(model=f'{CONSTANT}, request_inputs: {{note: {{type: string, pattern: "[a-z]++"}}}}')
    with pytest.raises(Refused, match=r"'\[a-z\]\+\+' is no regular expression of RE2"):
        world.plan()
    report = check(world.place, read_file(world.file), SystemClock())
    checked = {one.check: one for area in report.areas for one in area.findings}
    assert checked["model.request_inputs"].verdict is Verdict.FAIL
    assert world.outputs() == {"churn_probability": 0.26}


def test_another_constant_is_another_version_and_answers_at_once(world: Shop) -> None:
    world.begin()
    world.write(model=CONSTANT.replace("0.26", "0.5"))
    assert world.kinds() == ["new_version", "store_file", "use_version"]
    world.apply()
    assert world.outputs() == {"churn_probability": 0.5}
    world.write()  # the first constant again: no third version
    assert world.kinds() == ["store_file", "use_version"]
    world.apply()
    assert world.outputs() == {"churn_probability": 0.26}
    with shop(world.place) as at:
        assert [one.number for one in at.registry.versions()] == [1, 2]


def test_a_constant_does_not_take_the_place_of_an_imported_model(world: Shop) -> None:
    world.begin()
    with shop(world.place) as at:
        imported = at.registry.add(msgspec.structs.replace(at.registry.get(1), origin="imported"))
        use_model(at, imported.number, by="a test")
    world.write(model=CONSTANT.replace("0.26", "0.5"))
    steps = world.plan()["steps"]
    assert [step["kind"] for step in steps] == ["new_version", "store_file"]
    assert "version 2 still answers" in steps[0]["sentence"]
    world.apply()
    assert world.outputs() == {"churn_probability": 0.26}
    with shop(world.place) as at:
        assert use_model(at, 3, by="a test").previous == 2
    assert world.outputs() == {"churn_probability": 0.5}


def test_stricter_checks_clean_current_again_from_raw_as_if_from_the_start(world: Shop) -> None:
    world.begin(model=RULE)
    before = world.dataset()
    assert (before.rows, before.quarantined) == (6, 0)
    world.write(model=RULE, columns=COLUMNS.replace("max: 120", "max: 50"))
    (step,) = [step for step in world.plan()["steps"] if step["kind"] == "reclean"]
    assert "model version 1" in step["sentence"]
    world.apply()
    after = world.dataset()
    assert (after.rows, after.quarantined, after.held) == (5, 1, 1)
    held, good = world.predict("person-0006", "person-0005")
    assert isinstance(held, Refusal)
    assert held.status == 409
    assert isinstance(good, Answer)
    world.run()  # the same source: nothing new
    assert world.dataset().counts == after.counts | {"noop": 6}
    world.apply(model=RULE)
    assert (world.dataset().rows, world.dataset().quarantined) == (6, 0)
    assert world.outputs("person-0006") == {"churn_probability": 0.6}


def test_changed_cleaning_changes_current_and_the_digest_on_receipts(world: Shop) -> None:
    world.begin()
    before = world.dataset().cleaning
    assert before
    world.apply(columns=COLUMNS.replace("city: {type: string}", "city: {type: string, clean: [upper]}"))
    assert world.current('SELECT DISTINCT city FROM "ds_customers".rows') == [("BONN",)]
    assert world.dataset().cleaning not in ("", before)


def test_a_new_column_is_read_before_features_are_built_on_it(world: Shop) -> None:
    world.begin()
    world.write(columns=PLAN, sql=WITH_PLAN, model=BY_PLAN)
    assert world.kinds() == [
        "reread", "add_feature_set", "new_version", "record_contract", "store_file", "use_version",
    ]  # fmt: skip
    world.apply()
    assert world.outputs() == {"churn_probability": 0.9}
    assert len(world.sets()) == 2
    assert not any(world.sets().values())
    ask(world.place, "flush", {})  # the batches that landed without the column go to history all the same
    with own(world.place, "a test") as works:
        assert works.history.sequence("customers", "landing:customers") == 2


def test_when_the_source_is_away_a_new_column_leaves_the_file_before_it_applied(world: Shop) -> None:
    world.begin()
    (world.folder / "crm.db").rename(world.folder / "away.db")
    with pytest.raises(SourceError):
        world.apply(columns=PLAN, sql=WITH_PLAN, model=BY_PLAN)
    assert world.outputs() == {"churn_probability": 0.26}
    (world.folder / "away.db").rename(world.folder / "crm.db")
    world.apply()
    assert world.outputs() == {"churn_probability": 0.9}


def test_new_feature_sql_stands_beside_the_old_until_no_version_pins_it(world: Shop) -> None:
    world.begin(model=RULE)
    twice = "SELECT c.customer_id, c.tenure * 2 AS tenure, c.city FROM customers c"
    world.apply(model=RULE, sql=twice)
    assert world.outputs() == {"churn_probability": 0.6}
    world.exec("UPDATE customers SET tenure = 40 WHERE customer_id = 'person-0003'")
    world.run()
    assert world.outputs() == {"churn_probability": 0.8}
    with shop(world.place) as at:
        use_model(at, 1, by="a test")
        assert world.outputs() == {"churn_probability": 0.4}
        use_model(at, 2, by="a test")
        assert world.outputs() == {"churn_probability": 0.8}
        retire_model(at, 1, by="a test")
    assert world.retire_sets() == []  # still the previous one: back at once
    world.apply(model=RULE.replace("100.0", "200.0"), sql=twice)
    assert sorted(world.sets().values()) == [False, True]
    (gone,) = [digest for digest, retired in world.sets().items() if retired]
    told = [one for one in EventTail(world.place.home, SystemClock()).look() if "retired" in one.kind]
    assert [(one.kind, one.said) for one in told] == [
        ("model.feature_set_retired", f"feature_set: {gone}, view: customer")
    ]
    assert world.outputs() == {"churn_probability": 0.4}
    with shop(world.place) as at:
        assert "not kept current" in hindrance(at, need_applied(at.state), at.registry.get(1))


def test_a_column_that_a_pinned_feature_set_reads_may_not_go(world: Shop) -> None:
    world.begin(model=RULE)
    without = COLUMNS.replace("      city: {type: string}\n", "")
    world.write(model=RULE, columns=without, sql="SELECT c.customer_id, c.tenure FROM customers c", api=2)
    planned = world.plan()
    assert [one["check"] for one in planned["breaks"]] == ["apply.features"]
    assert "model retire 1" in planned["breaks"][0]["mend"]
    with pytest.raises(Refused):
        world.apply()


def test_a_break_of_the_api_contract_is_refused_with_its_mend(world: Shop) -> None:
    world.begin()
    world.write(model=CONSTANT.replace("churn_probability", "risk"))
    text = world.file.read_text().replace("fallback: {churn_probability", "fallback: {risk")
    world.file.write_text(text)
    planned = world.plan()
    assert planned["breaks"]
    assert "`api: 1` to 2" in planned["breaks"][0]["mend"]
    with pytest.raises(Refused):
        world.apply()
    assert world.outputs() == {"churn_probability": 0.26}
    world.file.write_text(text.replace("api: 1", "api: 2"))
    world.apply()
    assert world.outputs() == {"risk": 0.26}
    assert (world.folder / "contracts" / "api-2.json").is_file()


def test_another_key_is_refused(world: Shop) -> None:
    world.begin()
    world.write(key="city", sql="SELECT c.city AS customer_id, c.tenure FROM customers c")
    with pytest.raises(Refused, match="had the key customer_id"):
        world.plan()


def test_a_killed_apply_is_planned_and_done_again(world: Shop) -> None:
    world.begin(model=RULE)
    world.write(model=RULE, columns=COLUMNS.replace("max: 120", "max: 50"))

    class Killed(BaseException):
        pass

    def die(point: str) -> None:
        if point == "current-written":
            raise Killed

    def apply_and_die() -> None:
        with own(world.place, "a test", at=die) as works:
            new = applying.read(works)
            applying.perform(works, new, applying.plan(works, new))

    with pytest.raises(Killed):
        apply_and_die()
    assert "reclean" in world.kinds()
    world.apply()
    assert (world.dataset().rows, world.dataset().quarantined) == (5, 1)


def test_up_with_a_breaking_file_runs_the_last_applied_one_and_status_says_so_first(world: Shop) -> None:
    world.begin()
    world.write(model=CONSTANT.replace("churn_probability", "risk"))
    said: list[str] = []
    apply_at_start(world.place, said.append)
    assert "last applied one runs" in said[0]
    first = read_status(world.place, SystemClock()).wrong[0]
    assert (first.check, first.verdict) == ("file", Verdict.FAIL)
    assert "not applied" in first.sentence
    assert world.outputs() == {"churn_probability": 0.26}
    world.file.write_text("integration: churn\n  nonsense")
    said.clear()
    apply_at_start(world.place, said.append)
    assert "last applied one runs" in said[0]
    assert read_status(world.place, SystemClock()).wrong[0].check == "file"
    world.apply(model=CONSTANT.replace("0.26", "0.5"))
    assert "file" not in [one.check for one in read_status(world.place, SystemClock()).wrong]


def test_up_applies_what_breaks_nothing_and_raises_where_nothing_was_applied(world: Shop) -> None:
    world.file.write_text("integration: churn\n")
    with pytest.raises(MainstayError):
        apply_at_start(world.place, lambda _line: None)
    world.write()
    said: list[str] = []
    apply_at_start(world.place, said.append)
    assert any("every process runs" in line for line in said)
    world.write(model=CONSTANT.replace("0.26", "0.5"))
    (changed,) = [one for one in read_status(world.place, SystemClock()).wrong if one.check == "file"]
    assert changed.verdict is Verdict.WARN
