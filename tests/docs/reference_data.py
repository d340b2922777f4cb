"""What is asked of data and done to it, shown by doing it: checks and cleaning steps."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from mainstay import spec
from mainstay.core.clock import DAY
from mainstay.core.errors import Refused
from mainstay.core.nouns import Cleaning, Column, Dataset
from mainstay.pipelines.clean import cleaning
from mainstay.pipelines.clean_forms import FUNCTIONS, remembering
from mainstay.pipelines.clean_steps import STEPS
from mainstay.pipelines.currency import converted
from mainstay.quality.checks import ROWS, WHOLE, engine_condition, judge_row_count, judge_rows, judge_unique
from mainstay.quality.conditions import CONDITIONS
from mainstay.quality.distribution import PinnedColumn, PinnedProfile, contract_of, judge_distribution
from mainstay.quality.volume import judge_volume, windows
from mainstay.sources import BUILT_IN, options_of
from mainstay.store.current import Current

CHECKS: dict[str, str] = {
    "type": "",
    "required": "{required: contract}",
    "min": "{min: {column: tenure, value: 0}}",
    "max": "{max: {column: tenure, value: 120}}",
    "length": "{length: {column: postcode, min: 5, max: 5}}",
    "pattern": '{pattern: {column: postcode, regex: "[0-9]{5}"}}',
    "values": "{values: {column: contract, values: [One year, Two year]}}",
    "sql": '{sql: "total >= monthly", name: charges add up}',
    "references": "{references: {column: region_id, dataset: regions}}",
    "monotone": "{monotone: tenure}",
    "unique": "{unique: email}",
    "row_count": "{row_count: {min: 1000}}",
    "volume": "{volume: {per: day, within: 50%}}",
    "distribution": "{distribution: {column: tenure, profile: profiles/customers.json, psi: 0.2}}",
}
"""Kind -> an example, as an entry of `checks:`. Every column has `type` without being asked."""

CLEANINGS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "trim": ("trim", "string", ("  Two year ",)),
    "lower": ("lower", "string", ("Two YEAR",)),
    "upper": ("upper", "string", ("Two year",)),
    "title": ("title", "string", ("ANN o'neil",)),
    "collapse_spaces": ("collapse_spaces", "string", ("Ann   Lee",)),
    "blank_to_null": ("blank_to_null", "string", ("  ", "x")),
    "null_if": ('{null_if: [N/A, "-1"]}', "string", ("N/A", "-1", "7")),
    "number": ('{number: {decimal: ",", thousands: "."}}', "number", ("1.234,50", "12.5")),
    "date": ('{date: ["%d.%m.%Y", "%Y-%m-%d"]}', "date", ("31.01.2024", "2024-01-31", "31/01/2024")),
    "boolean": ("{boolean: {true: [yes], false: [no]}}", "boolean", ("YES", "no", "perhaps")),
    "unit": ("{unit: {from: lb, to: kg}}", "number", ("10",)),
    "unicode": ("{unicode: NFKC}", "string", ("\N{FULLWIDTH LATIN CAPITAL LETTER A}",)),
    "email": ("email", "string", ("Ann@EXAMPLE.com", "nobody")),
    "phone": ("{phone: {country: DE}}", "string", ("(030) 901820", "call me")),
    "country": ("country", "string", ("DEU", "Germany", "Atlantis")),
    "map": ('{map: {M: monthly, "?": null}}', "string", ("M", "?", "yearly")),
}
"""Step -> how it is written, the type of the column, and texts to try it on."""

_FILE = """
integration: shown
sources: {{crm: {{kind: sqlite, path: crm.db}}}}
datasets:
  customers:
    source: crm
    table: customers
    key: customer_id
    columns:
      customer_id: {{type: string}}
      contract: {{type: string}}
      tenure: {{type: integer}}
      postcode: {{type: string}}
      total: {{type: number}}
      monthly: {{type: number}}
      email: {{type: string}}
      region_id: {{type: string}}
      shown: {column}
    checks: [{check}]
  regions: {{source: crm, table: regions, key: region_id, columns: {{region_id: {{type: string}}}}}}
features: {{customer: {{key: customer_id, sql: SELECT customer_id FROM customers}}}}
model: {{name: shown, input: customer, constant: {{risk: 0.5}}}}
"""


def checks() -> str:
    """docs/reference/checks.md."""
    kinds = {*ROWS, "unique", *WHOLE} - {"aggregate", "currency"}
    if kinds != set(CHECKS):
        raise KeyError(f"give an example in CHECKS of {sorted(kinds ^ set(CHECKS))}")
    lines = [
        "# Every check",
        "",
        "Each kind of check as it is written, the condition by which a row fails, and the sentence of its",
        "finding. The rules are in [checks.md](../checks.md).",
    ]
    for kind, entry in CHECKS.items():
        lines += ["", f"## `{kind}`", ""]
        dataset = _dataset(check=entry)
        lines += [f"`- {entry}`", ""] if entry else ["Every column has it, without being asked.", ""]
        if kind in CONDITIONS:
            check = next(one for one in dataset.checks if one.kind == kind and one.column != "customer_id")
            for engine, shown in (("duckdb", "DuckDB"), ("postgres", "PostgreSQL")):
                lines += [f"- A row fails, in {shown}: `{_condition(check, engine)}`"]
        lines += [f"- Finding: {_sentence(dataset, kind)}"]
    return "\n".join(lines)


def _condition(check: object, engine: str) -> str:
    try:
        return engine_condition(check, engine)  # type: ignore[arg-type]
    except Refused as error:
        return error.sentence


def _sentence(dataset: Dataset, kind: str) -> str:
    check = next(one for one in reversed(dataset.checks) if one.kind == kind)
    if kind == "row_count":
        found = judge_row_count(check, 640)
    elif kind == "distribution":
        found = judge_distribution(check, dataset.column("tenure"), (0, 4210, 1706, 1127))
    elif kind == "volume":
        found = judge_volume(
            check, windows(1_793_700_000_000_000, "day", ZoneInfo("UTC"), 0)[0], 12, [640, 655, 648, 702]
        )
    elif kind == "unique":
        found = judge_unique(check, 12, 7043)
    else:
        found = next(one for one in judge_rows(dataset, {check.name: 12}, 7043) if one.check == check.name)
    return f"{found.verdict.value}, {found.sentence}; on failure `{check.on_fail}` unless it says otherwise"


def cleanings() -> str:
    """docs/reference/cleanings.md."""
    if set(STEPS) - {"currency"} != set(CLEANINGS):
        raise KeyError(f"give an example in CLEANINGS of {sorted(set(STEPS) ^ set(CLEANINGS))}")
    lines = [
        "# Every cleaning step",
        "",
        "Each step as it is written, and what it made of a few texts when this page was made. A value that is",
        "*bad* becomes null and fails the check `type`. The rules are in [cleaning.md](../cleaning.md).",
        "",
        "| step | written | column | raw | cleaned |",
        "|---|---|---|---|---|",
    ]
    for step, (written, kind, raw) in CLEANINGS.items():
        for number, (text, value) in enumerate(zip(raw, _cleaned(written, kind, raw), strict=True)):
            said = (f"`{step}`", f"`{written}`", kind) if number == 0 else ("", "", "")
            lines.append(f"| {said[0]} | {said[1]} | {said[2]} | `{_shown(text)}` | {value} |")
    lines += [_currency()]
    return "\n".join(lines)


def _currency() -> str:
    """The line of the step that needs a dataset of rates."""
    step = {"from": "code", "to": "EUR", "rates": "fx_rates", "at": "day", "max_age_us": 7 * DAY, "inverse": False}
    columns = (
        Column(name="amount", type="number", source_name="amount", clean=(Cleaning(kind="currency", args=step),)),
        Column(name="day", type="date", source_name="day"),
    )
    dataset = Dataset(name="payments", source="crm", table="payments", key="id", columns=columns)
    rates = "(SELECT 'USD' AS currency, DATE '2026-10-30' AS date, 0.8::DOUBLE AS rate)"
    row = "SELECT 100::DOUBLE AS amount, 'USD' AS code, DATE '2026-11-01' AS day"
    with closing(Current(None)) as current:
        value = current.one(f"SELECT amount FROM ({converted(dataset, row, None, lambda _name: rates)})")[0]
    written = "{currency: {from: code, to: EUR, rates: fx_rates, at: booked_on}}"
    raw = "`100`, in USD, with a rate of 0.8"
    return f"| `currency` | `{written}` | number | {raw} | `{value}` |"


def _shown(text: str) -> str:
    return text.replace(" ", "\N{OPEN BOX}") if text != text.strip() or "  " in text else text


def _cleaned(written: str, kind: str, raw: tuple[str, ...]) -> list[str]:
    dataset = _dataset(column=f"{{type: {kind}, clean: [{written}]}}")
    form = cleaning(dataset, {column.source_name: "text" for column in dataset.columns}, None)
    shown = next(column for column in form.columns if column.name == "shown")
    values = ", ".join("(?)" for _ in raw)
    query = f"SELECT CAST({shown.value_sql} AS VARCHAR), {shown.bad_sql} FROM (VALUES {values}) AS raw(shown)"
    with closing(Current(None)) as current:
        for name in form.functions:
            current.define(FUNCTIONS[name].name, partial(remembering, FUNCTIONS[name]), 2)
        rows = current.sql(query, list(raw))
    return ["bad" if bad else "null" if value is None else f"`{_shown(value)}`" for value, bad in rows]


def _profile() -> str:
    tenure = Column(name="tenure", type="integer", source_name="tenure")
    pinned = PinnedColumn(contract=contract_of(tenure), empty=0.0, edges=(12, 48), shares=(0.34, 0.33, 0.33))
    profile = PinnedProfile(dataset="customers", pinned_at="", rows=7000, columns={"tenure": pinned})
    return msgspec.json.encode(profile).decode()


def _dataset(*, check: str = "", column: str = "{type: string}") -> Dataset:
    text = _FILE.format(check=check, column=column)
    kinds = {kind: options_of(kind) for kind in BUILT_IN}
    return spec.load_files(
        {"mainstay.yaml": text, "profiles/customers.json": _profile()}, Path(), kinds=kinds, env={}
    ).datasets["customers"]
