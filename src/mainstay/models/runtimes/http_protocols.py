"""What is sent to a model served elsewhere, and how its answer is read. No sockets.

    oip      the Open Inference Protocol v2 over REST, as `inference_rest.md` of kserve/open-inference-protocol has it
    mlflow   `dataframe_split` to /invocations, as MLflow's scoring server documents it
    json     a template of the file's own, in which `$name` stands for an input and `$rows` for a row each

A path names a place in an answer: `score.value`, `reasons.0`. For the Open Inference Protocol it is a tensor, or a
tensor and a column of it: `probabilities.1`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from typing import Protocol as Shape
from urllib.parse import quote

import msgspec

from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import Row

if TYPE_CHECKING:
    from mainstay.models.runtimes.http import HttpOptions

_DATATYPES = {"integer": "INT64", "timestamp": "INT64", "number": "FP64", "boolean": "BOOL"}
"""By type; every other is BYTES."""
_WHOLE = "$rows"


class BadReply(Exception):
    """The answer has not the shape that was agreed. Says where, never what came."""


class Protocol(Shape):
    """How one kind of server is spoken to."""

    several: bool
    """Whether one request may hold several rows."""
    path: str

    def request(self, rows: Sequence[Row]) -> bytes:
        """The body. Raises ModelRefused for a value that the protocol cannot say."""
        ...

    def answers(self, body: bytes, count: int) -> list[tuple[Any, ...]]:
        """The outputs of each row. Raises BadReply."""
        ...


def protocol_of(said: HttpOptions, path: str, signature: Signature) -> Protocol:
    """`path`: that of the URL. Raises ModelRefused for options that do not fit each other or the signature."""
    for name in said.outputs:
        if name not in {field.name for field in signature.outputs}:
            raise ModelRefused(f"`http.outputs` names {name}, which is no output of the model")
    if said.protocol == "json":
        return _Json(said, path, signature)
    base, mark, query = path.partition("?")
    base = base.rstrip("/")
    if said.protocol == "mlflow":
        return _Mlflow(said, f"{base}/invocations{mark}{query}", signature)
    if said.protocol != "oip":
        raise ModelRefused("`http.protocol` is oip, mlflow or json")
    if not said.model:
        raise ModelRefused("`http.model` is missing: the model's name there", mend="add `model: NAME`")
    version = f"/versions/{quote(said.version, safe='')}" if said.version else ""
    return _Oip(said, f"{base}/v2/models/{quote(said.model, safe='')}{version}/infer{mark}{query}", signature)


_LEAST, _MOST = -(2**63), 2**63 - 1
"""What an integer can be in a receipt."""


class _Oip:
    several = True

    def __init__(self, said: HttpOptions, path: str, signature: Signature) -> None:
        self.path = path
        self._inputs = signature.inputs
        self._tensor = said.tensor
        self._number = said.datatype
        for field in signature.inputs if said.tensor else ():
            if field.type not in {"number", "integer", "boolean"}:
                raise ModelRefused(f"`http.tensor` takes numbers alone, and {field.name} is of type {field.type}")
        self._outputs = [(field, said.outputs.get(field.name, field.name)) for field in signature.outputs]

    def request(self, rows: Sequence[Row]) -> bytes:
        if self._tensor:
            plain = (_plain(value, field) for row in rows for value, field in zip(row, self._inputs, strict=True))
            data = [int(value) if isinstance(value, bool) else value for value in plain]
            shape = [len(rows), len(self._inputs)]
            inputs = [{"name": self._tensor, "shape": shape, "datatype": self._number, "data": data}]
        else:
            inputs = [
                {
                    "name": field.name,
                    "shape": [len(rows), 1],
                    "datatype": self._number if field.type == "number" else _DATATYPES.get(field.type, "BYTES"),
                    "data": [_plain(row[place], field) for row in rows],
                }
                for place, field in enumerate(self._inputs)
            ]
        return msgspec.json.encode({"inputs": inputs})

    def answers(self, body: bytes, count: int) -> list[tuple[Any, ...]]:
        said = _decoded(body)
        given = said.get("outputs") if isinstance(said, dict) else None
        if not isinstance(given, list):
            raise BadReply("it has no list `outputs`")
        found = [one for one in given if isinstance(one, dict) and isinstance(one.get("name"), str)]
        tensors = {one["name"]: one.get("data") for one in found}
        columns = []
        for field, path in self._outputs:
            name, column = (path, None) if path in tensors else _columned(path)
            if name not in tensors:
                raise BadReply(f"it has no output `{path}`")
            columns.append(_column(list(_flat(tensors[name])), count, column, field, path))
        return list(zip(*columns, strict=True))


class _Mlflow:
    several = True

    def __init__(self, said: HttpOptions, path: str, signature: Signature) -> None:
        self.path = path
        self._inputs = signature.inputs
        self._read = _reader(said, signature)

    def request(self, rows: Sequence[Row]) -> bytes:
        data = [[_plain(value, field) for value, field in zip(row, self._inputs, strict=True)] for row in rows]
        columns = [field.name for field in self._inputs]
        return msgspec.json.encode({"dataframe_split": {"columns": columns, "data": data}})

    def answers(self, body: bytes, count: int) -> list[tuple[Any, ...]]:
        return _rows(_at(_decoded(body), ["predictions"]), count, "predictions", self._read)


class _Json:
    def __init__(self, said: HttpOptions, path: str, signature: Signature) -> None:
        self.path = path
        self._inputs = signature.inputs
        names = [field.name for field in signature.inputs]
        self._row = {name: f"${name}" for name in names} if said.row is None else said.row
        self._request = self._row if said.request is None else said.request
        self.several = _WHOLE in _placeholders(self._request)
        for name in (*_placeholders(self._request), *(_placeholders(self._row) if self.several else ())):
            if name[1:] not in names and not (name == _WHOLE and self.several):
                raise ModelRefused(f"{name} in the template is no input of `http.inputs`", mend=", ".join(names))
        if said.answers and not self.several:
            raise ModelRefused("`http.answers` is for a request of several rows", mend="put `$rows` into `request`")
        self._answers = _path(said.answers)
        self._read = _reader(said, signature)

    def request(self, rows: Sequence[Row]) -> bytes:
        values = [self._values(row) for row in rows]
        if not self.several:
            return msgspec.json.encode(_filled(self._request, values[0]))
        whole = {_WHOLE: [_filled(self._row, each) for each in values]}
        return msgspec.json.encode(_filled(self._request, whole))

    def answers(self, body: bytes, count: int) -> list[tuple[Any, ...]]:
        said = _decoded(body)
        if not self.several:
            return [self._read(said)]
        return _rows(_at(said, self._answers), count, ".".join(self._answers) or "the answer", self._read)

    def _values(self, row: Row) -> dict[str, Any]:
        return {f"${field.name}": _plain(value, field) for value, field in zip(row, self._inputs, strict=True)}


def _plain(value: Any, field: Field) -> Any:
    """As JSON has it. Raises ModelRefused for an infinity; NaN is null."""
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise ModelRefused(f"{field.name} is not finite, which JSON cannot say", mend="`clip` it under `model.pre`")
    if not _fits(value, field):
        raise ModelRefused(
            f"a value of {field.name} is not of type {field.type}",
            mend=f"the feature SQL must give {field.name} as {field.type}",
        )
    return value


def _fits(value: Any, field: Field) -> bool:
    if value is None:
        return True
    if field.type == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if field.type in {"integer", "timestamp"}:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, bool if field.type == "boolean" else str)


def _placeholders(template: Any) -> Iterator[str]:
    if isinstance(template, dict):
        for each in template.values():
            yield from _placeholders(each)
    elif isinstance(template, list):
        for each in template:
            yield from _placeholders(each)
    elif isinstance(template, str) and template.startswith("$") and not template.startswith("$$"):
        yield template


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with its placeholders replaced; `$$` at the beginning of a text is a `$`."""
    if isinstance(template, dict):
        return {name: _filled(each, values) for name, each in template.items()}
    if isinstance(template, list):
        return [_filled(each, values) for each in template]
    if not isinstance(template, str) or not template.startswith("$"):
        return template
    return template[1:] if template.startswith("$$") else values[template]


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadReply("it is no JSON") from None


def _path(text: str) -> list[str]:
    return text.split(".") if text else []


def _at(value: Any, path: Sequence[str]) -> Any:
    for number, step in enumerate(path):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise BadReply(f"it has no `{'.'.join(path[: number + 1])}`")
    return value


def _rows(given: Any, count: int, where: str, read: Callable[[Any], tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    if not isinstance(given, list) or len(given) != count:
        raise BadReply(f"`{where}` is not a list of {count}, one for each row")
    return [read(one) for one in given]


def _reader(said: HttpOptions, signature: Signature) -> Callable[[Any], tuple[Any, ...]]:
    """From the answer for one row to the outputs; a single output without a path may be the answer itself."""
    outputs = [(field, _path(said.outputs.get(field.name, field.name))) for field in signature.outputs]
    bare = len(outputs) == 1 and not said.outputs

    def read(answer: Any) -> tuple[Any, ...]:
        if bare and not isinstance(answer, dict | list):
            return (_typed(answer, *outputs[0]),)
        return tuple(_typed(_at(answer, path), field, path) for field, path in outputs)

    return read


def _columned(path: str) -> tuple[str, int | None]:
    name, _, last = path.rpartition(".")
    return (name, int(last)) if name and last.isdecimal() else (path, None)


def _flat(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for one in data:
            yield from _flat(one)
    else:
        yield data


def _column(data: Sequence[Any], count: int, column: int | None, field: Field, path: str) -> list[Any]:
    width = len(data) // count
    if width * count != len(data) or not width or (column is None and width != 1):
        raise BadReply(f"`{path}` has {counted(len(data), 'element')} for {counted(count, 'row')}")
    if column is not None and column >= width:
        raise BadReply(f"`{path}`: there are {width} columns")
    return [_typed(one, field, [path]) for one in data[column or 0 :: width]]


def _typed(value: Any, field: Field, path: Sequence[str]) -> Any:
    """The value as the output's type, where nothing is lost."""
    if value is None:
        return None
    if field.type == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value)
    if field.type in {"integer", "timestamp"} and isinstance(value, int | float) and not isinstance(value, bool):
        whole = isinstance(value, int) or value.is_integer()
        if whole and _LEAST <= value <= _MOST:
            return int(value)
    if field.type == "boolean" and isinstance(value, bool):
        return value
    if field.type not in {"number", "integer", "timestamp", "boolean"} and isinstance(value, str):
        return value
    raise BadReply(f"`{'.'.join(path)}` is no {field.type}")
