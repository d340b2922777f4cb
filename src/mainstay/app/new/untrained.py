"""Without a model: the constant or rule that answers until there is one, and the columns to train it on."""

from __future__ import annotations

from mainstay.app.new.columns import names_of, personal, propose
from mainstay.app.new.datasets import dataset_name, must_have, offers_of, with_columns
from mainstay.app.new.inputs import Matched
from mainstay.app.new.tables import Guess, label_of
from mainstay.app.new.texts import DatasetPlan, Inline
from mainstay.app.new.work import Work
from mainstay.core.counts import counted
from mainstay.core.errors import Refused
from mainstay.core.nouns import Field
from mainstay.core.ports import SourceColumn
from mainstay.quality.profile import ColumnProfile

LONG_TEXT = 500
"""Characters from which a text is prose, and no feature without a model that asks for it."""
MANY = 50
"""Distinct values from which a text is no feature without a model that asks for it."""


def untrained(work: Work, main: DatasetPlan, name: str) -> tuple[DatasetPlan, tuple[str, ...], Inline]:
    """The dataset with the columns that a model may be trained on, those columns, and what answers meanwhile."""
    features = _features(work, main)
    offers, columns = offers_of(work, main, {})
    used = [
        Matched(field=Field(name=one.column, type=one.type), expression=one.sql, offered=one, evidence="")
        for one in offers
        if one.column in features
    ]
    return with_columns(work, main, used, columns), features, _inline(work, main, name)


def _features(work: Work, main: DatasetPlan) -> tuple[str, ...]:
    info, seen = work.look.describe(main.table), work.look.look(main.table, work.say)
    label = work.ask.said("label")
    if label:
        must_have(info, label, "--label")
    names = names_of(info.columns)
    return tuple(
        names[one.name]
        for one in info.columns
        if not one.refused and one.name != label and names[one.name] not in main.needs and _useful(one, seen[one.name])
    )


def _useful(column: SourceColumn, seen: ColumnProfile) -> bool:
    if not seen.present or column.kind in {"bytes", "json", "array", "interval", "time", "uuid"}:
        return False
    if personal(column, seen):
        return False
    kind = propose(column, seen, name=column.name).type
    return kind != "string" or (seen.distinct <= MANY and seen.longest <= LONG_TEXT)


def _inline(work: Work, main: DatasetPlan, name: str) -> Inline:
    ask = work.ask
    if ask.said("rule"):
        output, _, expression = ask.said("rule").partition("=")
        if not expression.strip():
            mend = '--rule "risk=CASE WHEN tenure < 6 THEN 0.5 ELSE 0.1 END"'
            raise Refused("a rule is an output and an expression", mend=mend)
        return Inline(rule={output.strip(): expression.strip()})
    if ask.said("constant"):
        output, _, value = ask.said("constant").partition("=")
        try:
            return Inline(constant={output.strip(): float(value)}, probability=output.strip().endswith("probability"))
        except ValueError:
            raise Refused("a constant is an output and a number", mend="--constant churn_probability=0.26") from None
    if ask.said("label"):
        return _base_rate(work, main, ask.said("label"))
    output, why = f"{name.replace('-', '_')}_score", "nothing was said of what is to be answered"
    ask.keep(Guess(what="constant", taken=f"{output} = 0.5", evidence=why, flag="--label"))
    return Inline(constant={output: 0.5})


def _base_rate(work: Work, main: DatasetPlan, label: str) -> Inline:
    seen = work.look.look(main.table, work.say)[label]
    try:
        positive, share = label_of(label, seen)
    except ValueError as error:
        raise Refused(str(error), mend="--constant NAME=NUMBER instead of --label") from None
    output = f"{dataset_name(label).lower()}_probability"
    why = f"{label} is {positive} in that share of {counted(seen.present, 'row')}"
    work.ask.keep(Guess(what="constant", taken=f"{output} = {share:.4f}", evidence=why, flag="--constant"))
    meaning = f"the share of rows whose {label} is {positive}"
    return Inline(constant={output: round(share, 4)}, probability=True, meaning=meaning)
