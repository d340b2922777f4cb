"""The parts of a Python client that differ between API contracts."""

from __future__ import annotations

import json
import keyword
from collections.abc import Sequence

from mainstay.app.client.telling import about
from mainstay.core.nouns import Field
from mainstay.serving.contract import ApiContract

_GIVEN = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "date": "str",
    "timestamp": "Union[str, int]", "json": "str", "bytes": "str",
}  # fmt: skip
_TAKEN = _GIVEN | {"date": "Union[str, date]", "timestamp": "Union[str, datetime, int]"}
_KEYS = {"integer": "int", "boolean": "bool", "date": "str", "timestamp": "str"}


def parts(contract: ApiContract) -> dict[str, str]:
    """Types, and how a prediction is asked for."""
    needed = any(field.required for field in contract.inputs)
    asked = ", inputs: Inputs" if needed else ", inputs: Optional[Inputs] = None" if contract.inputs else ""
    sent = (
        ""
        if not contract.inputs
        else ', "inputs": inputs'
        if needed
        else ", **({} if inputs is None else {'inputs': inputs})"
    )
    return {
        "TYPES": "\n\n\n".join(_types(contract)),
        "INPUTS": asked,
        "SENT": sent,
        "KEY": _key_example(contract),
        "ASK": ", inputs={...}" if needed else "",
        "FEEDBACK": '    client.decide(answer.receipt, "overridden", reason="called last week", by="j.doe")\n',
    }


def _types(contract: ApiContract) -> list[str]:
    found = [_dict("Output", contract.outputs, "What the model gives.", given=True)]
    if contract.inputs:
        found.append(_dict("Inputs", contract.inputs, "Request-time inputs, beside a key."))
    rows = {field.name: field for field in (*contract.columns, *contract.inputs)}
    found.append(_dict("Row", tuple(rows.values()), "A row of your own: the model's inputs."))
    if len(contract.key_columns) > 1:
        columns = tuple(Field(name=one.name, type=one.type, required=True) for one in contract.key_columns)
        found.append(_dict("Key", columns, "A business key: a value for each of its columns.", key=True))
    else:
        kind = 'Literal["true", "false"]' if contract.key.type == "boolean" else _KEYS.get(contract.key.type, "str")
        found.append(f'Key = {kind}\n"""A business key: a value of `{contract.key.name}`."""')
    return found


def _dict(name: str, fields: Sequence[Field], text: str, *, given: bool = False, key: bool = False) -> str:
    lines = [(field, _hint(field, given=given, key=key)) for field in fields]
    if all(field.name.isidentifier() and not keyword.iskeyword(field.name) for field, _ in lines):
        body = "\n".join(f"    {field.name}: {hint}{_comment(field)}" for field, hint in lines)
        return f'class {name}(TypedDict):\n    """{text}"""\n\n{body or "    pass"}'
    body = "\n".join(f'        {json.dumps(field.name)}: "{_quoted(hint)}",{_comment(field)}' for field, hint in lines)
    return f'{name} = TypedDict(\n    "{name}",\n    {{\n{body}\n    }},\n)\n"""{text}"""'


def _hint(field: Field, *, given: bool, key: bool) -> str:
    if key:
        return _KEYS.get(field.type, "str")
    plain = (_GIVEN if given else _TAKEN)[field.type]
    known = field.categories if given else field.limits.values if field.limits else ()
    if known and all(isinstance(one, str | int) for one in known):
        plain = f"Literal[{', '.join(repr(one) for one in known)}]"
    if given:
        return f"Optional[{plain}]"
    return plain if field.required else f"NotRequired[Optional[{plain}]]"


def _quoted(hint: str) -> str:
    return hint.replace("\\", "\\\\").replace('"', '\\"')


def _comment(field: Field) -> str:
    told = about(field)
    return f"  # {told}" if told else ""


def _key_example(contract: ApiContract) -> str:
    columns = contract.key_columns
    values = [1 if one.type == "integer" else True if one.type == "boolean" else "KEY" for one in columns]
    if len(columns) == 1:
        return '"true"' if columns[0].type == "boolean" else json.dumps(values[0])
    return json.dumps({one.name: value for one, value in zip(columns, values, strict=True)}).replace("true", "True")
