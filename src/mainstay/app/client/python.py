"""The parts of a Python client that differ between API contracts."""

from __future__ import annotations

import json
import keyword
from typing import Any

from mainstay.app.client.shapes import Property, Shape, Shapes
from mainstay.app.client.telling import about
from mainstay.core.nouns import Field

_GIVEN = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "date": "str",
    "timestamp": "Union[str, int]", "json": "str", "bytes": "str",
}  # fmt: skip
_TAKEN = _GIVEN | {"date": "Union[str, date]", "timestamp": "Union[str, datetime, int]"}
_KEYS = {"integer": "int", "boolean": "bool"}
_INPUTS = {
    "none": ("", ""),
    "some": (", inputs: Optional[Inputs] = None", ", **({} if inputs is None else {'inputs': inputs})"),
    "needed": (", inputs: Inputs", ', "inputs": inputs'),
}
"""A parameter for request-time inputs, and what is sent of it."""


def parts(shapes: Shapes) -> dict[str, str]:
    """Types, and how a prediction is asked for."""
    asked, sent = _INPUTS[shapes.inputs]
    found = [_dict(one) for one in shapes.objects]
    if shapes.key is not None:
        found.append(f'Key = {_key(shapes.key)}\n"""{shapes.key_about}"""')
    return {
        "TYPES": "\n\n\n".join(found),
        "INPUTS": asked,
        "SENT": sent,
        "KEY": _key_example(shapes.example),
        "ASK": ", inputs={...}" if shapes.inputs == "needed" else "",
        "FEEDBACK": '    client.decide(answer.receipt, "overridden", reason="called last week", by="j.doe")\n',
    }


def _dict(shape: Shape) -> str:
    name = shape.name
    lines = [(one.field, _hint(one, shape)) for one in shape.properties]
    if all(field.name.isidentifier() and not keyword.iskeyword(field.name) for field, _ in lines):
        body = "\n".join(f"    {field.name}: {hint}{_comment(field)}" for field, hint in lines)
        return f'class {name}(TypedDict):\n    """{shape.about}"""\n\n{body or "    pass"}'
    body = "\n".join(f'        {json.dumps(field.name)}: "{_quoted(hint)}",{_comment(field)}' for field, hint in lines)
    return f'{name} = TypedDict(\n    "{name}",\n    {{\n{body}\n    }},\n)\n"""{shape.about}"""'


def _hint(one: Property, shape: Shape) -> str:
    if shape.kind == "key":
        return _KEYS.get(one.field.type, "str")
    plain = (_GIVEN if shape.kind == "given" else _TAKEN)[one.field.type]
    if one.values and all(isinstance(each, str | int) for each in one.values):
        plain = f"Literal[{', '.join(repr(each) for each in one.values)}]"
    if shape.kind == "given":
        return f"Optional[{plain}]"
    return f"NotRequired[Optional[{plain}]]" if one.optional else plain


def _quoted(hint: str) -> str:
    return hint.replace("\\", "\\\\").replace('"', '\\"')


def _comment(field: Field) -> str:
    told = about(field)
    return f"  # {told}" if told else ""


def _key(field: Field) -> str:
    return 'Literal["true", "false"]' if field.type == "boolean" else _KEYS.get(field.type, "str")


def _key_example(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(name)}: {_key_example(each)}' for name, each in value.items())}}}"
    return "True" if value is True else json.dumps(value)
