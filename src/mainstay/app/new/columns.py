"""A column that was looked at -> its line in the dataset contract. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import msgspec

from mainstay.core.counts import counted
from mainstay.core.nouns import ColumnType, Field
from mainstay.core.ports import SourceColumn
from mainstay.quality.profile import MOST_COMMON, ColumnProfile

SURE = 0.99
"""The share of a text column's values that must have a form before it is taken for its type."""
ASKED = 0.8
"""The same where the model wants that type: the others are then bad values for the quarantine, not another type."""
ENOUGH = 100
"""Rows below which nothing is promised from what was seen."""
FEW = 12
"""Distinct values up to which a column is taken for a choice among them."""

_PII = re.compile(
    r"e_?mail|phone|mobile|(^|_)(tel|fax|iban|bic|ssn|dob|vat_?id|passport|street|strasse|address|addr|vorname|nachname)($|_)"
    r"|(first|last|sur|given|full|middle|maiden|contact|customer|person)_?name|^name$|birth|geburt|social_security",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"(^|_)(id|ids|no|nr|num|number|code|zip|plz|postcode|postal|key|ref|sku|ean|vin)($|_)|id$", re.IGNORECASE
)
_SHARE = re.compile(r"prob|share|ratio|rate($|_)|fraction", re.IGNORECASE)
_PERCENT = re.compile(r"percent|pct", re.IGNORECASE)
_TRUE = {"yes", "y", "true", "t", "1", "ja", "j", "oui", "si", "on"}
_FALSE = {"no", "n", "false", "f", "0", "nein", "non", "off"}


class ColumnPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `columns:`, and what it rests on."""

    name: str
    source_name: str
    type: ColumnType
    naive: bool = False
    """Whether it holds times without a zone, so that the source must declare one."""
    settings: tuple[tuple[str, object], ...] = ()
    """Setting -> value, as they are written after `type`."""
    evidence: str = ""
    doubts: tuple[str, ...] = ()
    """What a person should look at."""

    def setting(self, name: str) -> object:
        """The value of one setting; None when it is not set."""
        return dict(self.settings).get(name)


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The type that a column is read as, and the cleaning that this takes."""

    type: ColumnType
    clean: tuple[object, ...] = ()
    naive: bool = False
    doubt: str = ""


def propose(
    column: SourceColumn, seen: ColumnProfile, *, name: str, key: bool = False, wanted: Field | None = None
) -> ColumnPlan:
    """The column's line.

    Args:
        column: As the source declares it.
        seen: What stands in it.
        name: What it is called in the dataset.
        key: Whether it names the row.
        wanted: The model's input that it is given to, if it is.
    """
    form = form_of(column, seen, wanted=wanted, key=key)
    clean = [*_tidy(column, seen, form, key=key), *form.clean]
    doubts = [form.doubt] if form.doubt else []
    categories = wanted.categories if wanted is not None and wanted.type == "string" else ()
    mapped, strange = _to_categories(seen, categories)
    if mapped:
        clean.append({"map": mapped})
    if strange:
        doubts.append(f"{counted(strange, 'distinct value')} that the model never saw in training")
    pii = personal(column, seen)
    settings: list[tuple[str, object]] = []
    if name != column.name:
        settings.append(("source_name", column.name))
    if _required(column, seen, wanted, key=key):
        settings.append(("required", True))
    if clean:
        settings.append(("clean", clean))
    settings += _limits(column, seen, form.type, key=key or bool(_CODE.search(parted(name))))
    settings += [] if pii or key else _choices(seen, form.type, categories)
    if pii:
        settings.append(("pii", True))
    return ColumnPlan(
        name=name,
        source_name=column.name,
        type=form.type,
        naive=form.naive,
        settings=tuple(settings),
        evidence=evidence(column, seen, form.type, pii=pii),
        doubts=tuple(doubts),
    )


def form_of(column: SourceColumn, seen: ColumnProfile, *, wanted: Field | None = None, key: bool = False) -> Form:
    """How the column is read: by the source's own type, and for texts by what stands in them."""
    kind = column.kind
    if kind in {"integer", "boolean"}:
        return Form(type="integer" if kind == "integer" else "boolean")
    if kind == "float":
        return Form(type="number")
    if kind == "numeric":
        whole = "INT" in column.native.upper() and seen.share("integer") >= SURE
        return Form(type="integer" if whole or (key and seen.all("integer")) else "number")
    if kind == "date":
        return Form(type="date")
    if kind in {"timestamp", "timestamptz"}:
        return Form(type="timestamp", naive=kind == "timestamp")
    if kind in {"json", "array"}:
        return Form(type="json")
    if kind == "bytes":
        return Form(type="bytes")
    if kind != "text" or key or (wanted is not None and wanted.type == "string"):
        return Form(type="string")
    return _text_form(column, seen, wanted)


def _text_form(column: SourceColumn, seen: ColumnProfile, wanted: Field | None) -> Form:
    numeric = wanted is not None and wanted.type in {"integer", "number"}
    if numeric or not (_CODE.search(parted(column.name)) or seen.forms.get("leading_zero") or personal(column, seen)):
        found = _number_form(seen, ASKED if numeric else SURE)
        if found is not None:
            return found
    if wanted is not None and wanted.type == "boolean":
        return _boolean_form(seen)
    if seen.share("timestamp_zoned") >= SURE:
        return Form(type="timestamp")
    if seen.share("timestamp") >= SURE:
        return Form(type="timestamp", naive=True)
    if seen.share("date") >= SURE:
        return Form(type="date")
    written = [form for form in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y") if seen.share(form) >= SURE]
    if len(written) == 1:
        return Form(type="date", clean=({"date": written},))
    if written:
        return Form(
            type="string", doubt=f"dates that may be {' or '.join(written)}: say which with `clean: [{{date: [...]}}]`"
        )
    return Form(type="string")


def _number_form(seen: ColumnProfile, enough: float) -> Form | None:
    if seen.share("number") >= enough:
        whole = seen.share("integer") >= enough and seen.forms.get("integer") == seen.forms.get("number")
        return Form(type="integer" if whole else "number")
    if seen.share("thousands_comma") >= enough:
        return Form(type="number", clean=({"number": {"decimal": ".", "thousands": ","}},))
    if seen.share("decimal_comma") >= enough:
        return Form(type="number", clean=({"number": {"decimal": ",", "thousands": "."}},))
    return None


def _boolean_form(seen: ColumnProfile) -> Form:
    words = [value for value, _ in seen.common]
    true = [word for word in words if word.casefold() in _TRUE]
    false = [word for word in words if word.casefold() in _FALSE]
    if true and false and len(true) + len(false) == len(words):
        return Form(type="boolean", clean=({"boolean": {"true": true, "false": false}},))
    return Form(type="string")


def _tidy(column: SourceColumn, seen: ColumnProfile, form: Form, *, key: bool) -> list[object]:
    """White space taken off where there was some; a key in text always, so that a look-up by hand finds it."""
    if column.kind != "text":
        return []
    found: list[object] = ["trim"] if seen.padded or seen.blanks or (key and form.type == "string") else []
    if seen.blanks and not key:
        found.append("blank_to_null")
    return found


def _required(column: SourceColumn, seen: ColumnProfile, wanted: Field | None, *, key: bool) -> bool:
    if key:
        return True
    if seen.nulls or seen.blanks or not seen.rows:
        return False
    return not column.nullable or (wanted is not None and wanted.required)


def _limits(column: SourceColumn, seen: ColumnProfile, kind: ColumnType, *, key: bool) -> list[tuple[str, object]]:
    if key or kind not in {"integer", "number"} or seen.low is None or seen.high is None or seen.rows < ENOUGH:
        return []
    try:
        low, high = float(seen.low), float(seen.high)
    except ValueError:
        return []  # a text among numbers: no limits from what was seen
    if low < 0:
        return []
    found: list[tuple[str, object]] = [("min", 0)]
    flag = kind == "integer" and seen.distinct == 2 and high == 1
    if flag or (high <= 1 and _SHARE.search(column.name)):
        found.append(("max", 1))
    elif high <= 100 and _PERCENT.search(column.name):
        found.append(("max", 100))
    return found


def _choices(seen: ColumnProfile, kind: ColumnType, categories: Sequence[str]) -> list[tuple[str, object]]:
    """The values allowed: those of training where there are some, else the few that were seen, with a warning only."""
    if kind != "string":
        return []
    if categories and len(categories) <= MOST_COMMON:
        return [("values", list(categories))]
    few = 1 < seen.distinct <= FEW and seen.present >= max(ENOUGH, 20 * seen.distinct)
    if not few or seen.longest > 60:
        return []
    return [("values", sorted(value for value, _ in seen.common)), ("on_fail", "warn")]


def _to_categories(seen: ColumnProfile, categories: Sequence[str]) -> tuple[dict[str, str], int]:
    """Values that are a category of training but for case or spaces, and how many distinct ones are none at all."""
    if not categories or seen.distinct > MOST_COMMON:
        return {}, 0
    near = {" ".join(one.casefold().split()): one for one in categories}
    mapped, strange = {}, 0
    for value, _ in seen.common:
        if value in categories:
            continue
        meant = near.get(" ".join(value.casefold().split()))
        if meant is None:
            strange += 1
        else:
            mapped[value] = meant
    return mapped, strange


def personal(column: SourceColumn, seen: ColumnProfile) -> bool:
    """Whether it looks like a column that tells who a person is: by its name, or because it holds e-mail addresses."""
    if column.kind not in {"text", "date", "numeric", "integer"}:
        return False
    if seen.present >= ENOUGH and seen.distinct <= FEW:
        return False  # a choice among a few, whatever it is called
    return bool(_PII.search(parted(column.name))) or seen.share("email") >= 0.9


def evidence(column: SourceColumn, seen: ColumnProfile, kind: ColumnType, *, pii: bool = False) -> str:
    """What was seen, in half a line; of personal columns no values."""
    parts = [column.native]
    if seen.nulls + seen.blanks:
        parts.append(f"{seen.nulls + seen.blanks:,} of {seen.rows:,} empty")
    ordered = seen.all("number") or seen.all("date") or column.kind in {"date", "timestamp", "timestamptz"}
    if kind in {"integer", "number", "date", "timestamp"} and ordered and seen.low is not None and not pii:
        parts.append(seen.low if seen.low == seen.high else f"{seen.low} to {seen.high}")
    elif seen.distinct:
        parts.append(counted(seen.distinct, "value"))
    return ", ".join(parts)


def parted(name: str) -> str:
    """A name with `_` between its parts, however the old system writes them: `customerID`, `Kunden-Nr`, `sold at`."""
    return re.sub(r"[^0-9A-Za-z\u00c0-\uffff]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_")


def names_of(columns: Sequence[SourceColumn]) -> Mapping[str, str]:
    """Source name -> a name for SQL, distinct also without case: `Customer ID` becomes `customer_id`."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for column in columns:
        name = sql_name(column.name)
        base, number = name, 2
        while name.casefold() in taken:
            name, number = f"{base[:58]}_{number}", number + 1
        taken.add(name.casefold())
        found[column.name] = name
    return found


def sql_name(text: str) -> str:
    """A name for SQL: as it is where it is one, else in small letters with `_` between its parts."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", text):
        return text
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")[:60] or "column"
    return name if name[0].isalpha() else f"c_{name}"
