"""The API contract: what callers may send and will get, whatever model answers. Kept in git beside the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mainstay.core.errors import NotFound, Refused
from mainstay.core.nouns import ColumnType, Field, Integration, Limits, Signature
from mainstay.core.verdicts import Finding, Verdict


class ApiContract(msgspec.Struct, frozen=True, kw_only=True):
    """`contracts/api-<api>.json`."""

    v: int = 1
    integration: str
    api: int
    key: Field
    """The business key: its name in the feature view and its type; of several columns, the first."""
    keys: tuple[Field, ...] = ()
    """Every key column that a request gives, where there are several."""
    inputs: tuple[Field, ...] = ()
    """Request-time inputs."""
    columns: tuple[Field, ...] = ()
    """The columns of `model.input`, which `rows` may carry."""
    outputs: tuple[Field, ...]

    @property
    def key_columns(self) -> tuple[Field, ...]:
        """The key columns that a request gives, in order."""
        return self.keys or (self.key,)


def path_of(folder: str | Path, api: int) -> Path:
    """Where the API contract of an integration's folder lies."""
    return Path(folder) / "contracts" / f"api-{api}.json"


def build(
    integration: Integration,
    columns: Sequence[tuple[str, ColumnType]],
    signature: Signature,
    *,
    keys: Sequence[Field] = (),
) -> ApiContract:
    """The API contract that the first version to answer writes.

    `columns` are the feature columns in SQL order, `keys` the key columns; without them the key is text.
    """
    view = integration.features.get(integration.model.input)
    names = view.key_names if view else ("key",)
    keys = keys or [Field(name=name, type="string", required=True) for name in names]
    return ApiContract(
        integration=integration.name,
        api=integration.api,
        key=keys[0],
        keys=tuple(keys) if len(keys) > 1 else (),
        inputs=integration.model.request_inputs,
        columns=tuple(Field(name=name, type=kind) for name, kind in columns),
        outputs=tuple(_promised(field, integration) for field in signature.outputs),
    )


def _promised(field: Field, integration: Integration) -> Field:
    known = field.categories
    instead = None if integration.fallback is None else integration.fallback.values.get(field.name)
    if known and isinstance(instead, str) and instead not in known:
        known = (*known, instead)
    return Field(
        name=field.name,
        type=field.type,
        unit=field.unit,
        meaning=field.meaning,
        minimum=field.minimum,
        maximum=field.maximum,
        categories=known,
    )


def write(path: Path, contract: ApiContract) -> None:
    """Writes the API contract, indented for people who read it in git."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, object] = msgspec.to_builtins(contract)
    if not contract.keys:
        del told["keys"]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


def read(path: Path) -> ApiContract:
    """The API contract in the file. Raises NotFound, or Refused when it is not one."""
    if not path.is_file():
        raise NotFound("there is no API contract yet", where=str(path), mend="the first `mainstay apply` writes it")
    try:
        return msgspec.json.decode(path.read_bytes(), type=ApiContract)
    except msgspec.DecodeError as error:
        raise Refused(f"this is not an API contract: {error}", where=str(path), mend="restore it from git") from None


def breaks(old: ApiContract, new: ApiContract) -> tuple[Finding, ...]:
    """What a caller of `old` could no longer do or rely on under `new`; empty when nothing breaks."""
    found: list[Finding] = []
    found += _keys(old.key_columns, new.key_columns)
    for kind, before, after in (("input", old.inputs, new.inputs), ("column", old.columns, new.columns)):
        found += _inputs(kind, before, after)
    found += _outputs(old.outputs, new.outputs)
    return tuple(found)


def _keys(before: Sequence[Field], after: Sequence[Field]) -> list[Finding]:
    if len(before) == len(after) == 1:  # its name is not asked of callers
        if before[0].type == after[0].type:
            return []
        return [_break("api.key", f"the key was {before[0].type} and becomes {after[0].type}")]
    known = {field.name: field for field in after}
    found = []
    for field in before:
        now = known.pop(field.name, None)
        if now is None:
            found.append(_break("api.key", f"the key column `{field.name}` is gone"))
        elif now.type != field.type:
            found.append(_break("api.key", f"the key column `{field.name}` was {field.type} and becomes {now.type}"))
    return [*found, *(_break("api.key", f"the key column `{name}` is new") for name in known)]


def _inputs(kind: str, before: Sequence[Field], after: Sequence[Field]) -> list[Finding]:
    known = {field.name: field for field in after}
    found: list[Finding] = []
    for field in before:
        now = known.get(field.name)
        if now is None:
            found.append(_break(f"api.{kind}", f"{kind} `{field.name}` is gone"))
        elif now.type != field.type:
            found.append(_break(f"api.{kind}", f"{kind} `{field.name}` was {field.type} and becomes {now.type}"))
        elif now.required and not field.required:
            found.append(_break(f"api.{kind}", f"{kind} `{field.name}` becomes required"))
        found += [] if now is None else _tighter(kind, field, now)
    names = {field.name for field in before}
    found += [
        _break(f"api.{kind}", f"{kind} `{field.name}` is new and required")
        for field in after
        if field.required and field.name not in names
    ]
    return found


def _tighter(kind: str, field: Field, now: Field) -> list[Finding]:
    """Values that were taken and would be refused."""
    was, will = field.limits or Limits(), now.limits or Limits()
    said = [
        ("minimum", _higher(field.minimum, now.minimum)),
        ("maximum", _lower(field.maximum, now.maximum)),
        ("least length", _higher(was.shortest, will.shortest)),
        ("greatest length", _lower(was.longest, will.longest)),
        ("pattern", bool(will.pattern) and will.pattern != was.pattern),
        ("list of values", bool(will.values) and (not was.values or not set(was.values) <= set(will.values))),
    ]
    return [
        _break(f"api.{kind}", f"the {what} of {kind} `{field.name}` becomes narrower")
        for what, narrower in said
        if narrower
    ]


def _higher(old: float | None, new: float | None) -> bool:
    return new is not None and (old is None or new > old)


def _lower(old: float | None, new: float | None) -> bool:
    return new is not None and (old is None or new < old)


def _outputs(before: Sequence[Field], after: Sequence[Field]) -> list[Finding]:
    known = {field.name: field for field in after}
    found: list[Finding] = []
    for field in before:
        now = known.pop(field.name, None)
        if now is None:
            found.append(_break("api.outputs", f"output `{field.name}` is gone"))
        elif now.type != field.type:
            found.append(_break("api.outputs", f"output `{field.name}` was {field.type} and becomes {now.type}"))
        elif now.unit != field.unit:
            text = f"output `{field.name}` was in {field.unit or 'no unit'} and becomes {now.unit or 'no unit'}"
            found.append(_break("api.outputs", text))
    found += [_break("api.outputs", f"output `{name}` is new") for name in known]
    return found


def _break(check: str, sentence: str) -> Finding:
    return Finding(check=check, verdict=Verdict.FAIL, sentence=sentence, mend="raise `api:` in mainstay.yaml")
