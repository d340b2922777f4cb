"""The parts of a TypeScript client that differ between API contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mainstay.app.client.telling import about
from mainstay.core.nouns import Field
from mainstay.serving.contract import ApiContract

_GIVEN = {
    "string": "string", "integer": "number", "number": "number", "boolean": "boolean", "date": "string",
    "timestamp": "string | number", "json": "string", "bytes": "string",
}  # fmt: skip
_KEYS = {"integer": "number | string", "boolean": "boolean", "date": "string", "timestamp": "string"}
"""A number holds integers to 2^53; greater ones go as text."""


def parts(contract: ApiContract) -> dict[str, str]:
    """Types, and how a prediction is asked for."""
    needed = any(field.required for field in contract.inputs)
    return {
        "TYPES": "\n\n".join(_types(contract)),
        "INPUTS": ", inputs: Inputs" if needed else ", inputs?: Inputs" if contract.inputs else "",
        "SENT": ", inputs" if contract.inputs else "",
        "KEY": _key_example(contract),
        "ASK": ", { ... }" if needed else "",
        "FEEDBACK": ' *     await client.decide(answer.receipt!, "overridden", { reason: "called last week" });\n',
    }


def _types(contract: ApiContract) -> list[str]:
    found = [_interface("Output", contract.outputs, "What the model gives.", given=True)]
    if contract.inputs:
        found.append(_interface("Inputs", contract.inputs, "Request-time inputs, beside a key."))
    rows = {field.name: field for field in (*contract.columns, *contract.inputs)}
    found.append(_interface("Row", tuple(rows.values()), "A row of your own: the model's inputs."))
    if len(contract.key_columns) > 1:
        columns = tuple(Field(name=one.name, type=one.type, required=True) for one in contract.key_columns)
        found.append(_interface("Key", columns, "A business key: a value for each of its columns.", key=True))
    else:
        text = f"/** A business key: a value of `{contract.key.name}`. */"
        found.append(f"{text}\nexport type Key = {_key(contract.key)};")
    return found


def _interface(name: str, fields: Sequence[Field], text: str, *, given: bool = False, key: bool = False) -> str:
    body = "".join(_property(field, given=given, key=key) for field in fields)
    return f"/** {text} */\nexport interface {name} {{\n{body}}}"


def _property(field: Field, *, given: bool, key: bool) -> str:
    told = about(field).replace("*/", "* /")
    said = f"  /** {told} */\n" if told else ""
    if key:
        return f"{said}  {json.dumps(field.name)}: {_KEYS.get(field.type, 'string')};\n"
    known = field.categories if given else field.limits.values if field.limits else ()
    kind = " | ".join(json.dumps(one) for one in known) if known else _GIVEN[field.type]
    if given:
        return f"{said}  {json.dumps(field.name)}: {kind} | null;\n"
    name = json.dumps(field.name)
    return f"{said}  {name}: {kind};\n" if field.required else f"{said}  {name}?: {kind} | null;\n"


def _key(field: Field) -> str:
    """A truth alone goes as its word; only as a column of an object it may go as itself."""
    return '"true" | "false"' if field.type == "boolean" else _KEYS.get(field.type, "string")


def _key_example(contract: ApiContract) -> str:
    columns = contract.key_columns
    values = [1 if one.type == "integer" else True if one.type == "boolean" else "KEY" for one in columns]
    if len(columns) == 1:
        return '"true"' if columns[0].type == "boolean" else json.dumps(values[0])
    return json.dumps({one.name: value for one, value in zip(columns, values, strict=True)})
