"""ONNX models on the CPU, one thread each: many workers beat many threads for rows that come one by one.

Options, all of which `model add` fills in; a plain graph needs none but `outputs`:

    inputs       [{"name": tensor, "columns": [signature inputs], "type": string|float|double|int64|bool}]
    outputs      [{"name": signature output, "tensor": graph output, "column": index or None}], in signature order
    images       {signature input: how its pictures are decoded, the fields of core.nouns.ImageInput}
    null_string  what stands for a null in a string tensor (default "")
    required     inputs whose null the original refuses, so that this one must not answer either
    closed       inputs whose unknown categories the original refuses

Null numbers become NaN; integer and boolean tensors have no room for a null, so it is refused there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused, ModelTimeout
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel, Row, RuntimeCapabilities
from mainstay.models.inputs import check_rows, columns_of, required_of, wrong_type
from mainstay.models.runtimes.onnx_images import pictures_of

if TYPE_CHECKING:
    import numpy as np

ELEMENTS = {
    "tensor(string)": "string",
    "tensor(float)": "float",
    "tensor(double)": "double",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}
# Types whose values go into the tensor as they are; every other value is looked at.
_AS_IS: dict[str, frozenset[type]] = {
    "string": frozenset({str}),
    "float": frozenset({float, int}),
    "double": frozenset({float, int}),
    "int64": frozenset({int}),
    "int32": frozenset({int}),
    "bool": frozenset({bool}),
}
_PACKED = {"float": "f", "double": "d"}
"""Element -> what packs it (`struct`)."""
_DECODED_AT_ONCE = 4
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})


class OnnxRuntime:
    """See the module for its options."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:
        """Raises ModelRefused when the bytes are no ONNX model or the signature does not fit the graph."""
        import onnxruntime

        if artifact is None:
            raise ModelRefused("an ONNX model needs its file")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(artifact.read_bytes(), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class
            raise ModelRefused(f"onnxruntime cannot load this model: {str(error)[:300]}") from error
        build = f"onnxruntime {onnxruntime.__version__} cpu"
        return _Onnx(session, signature, options, build, self._clock)


class _Tensor:
    """One graph input, and which of the row's values go into it."""

    def __init__(self, name: str, element: str, places: tuple[int, ...], *, flat: bool) -> None:
        import numpy as np

        self.name = name
        self.element = element
        self.places = places
        self.flat = flat
        self.dtype: Any = {
            "string": object,
            "float": np.float32,
            "double": np.float64,
            "int64": np.int64,
            "int32": np.int32,
            "bool": np.bool_,
        }[element]

    def empty(self, rows: int) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.empty((rows,) if self.flat else (rows, len(self.places)), dtype=self.dtype)


class _Bound:
    """A row of numbers on its way through a graph, in memory that is bound to it once.

    Nothing is made or looked up for each row, which takes a third of the time. What ONNX Runtime calls I/O binding:
    https://onnxruntime.ai/docs/api/python/api_summary.html#iobinding

    Args:
        session: The graph.
        tensor: Its only input, of floats or doubles.
        results: What it gave for a row, in the order of `fetch`; others will have the same shapes.
        fetch: The names of the results.
    """

    def __init__(
        self, session: Any, tensor: _Tensor, results: Sequence[np.ndarray[Any, Any]], fetch: Sequence[str]
    ) -> None:
        import numpy as np
        from onnxruntime import OrtValue

        self._session = session
        self._row = tensor.empty(1)
        self._room = memoryview(self._row.data).cast("B")
        self._pack = Struct(f"{len(tensor.places)}{_PACKED[tensor.element]}").pack_into
        self._results = [np.empty_like(one) for one in results]
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(tensor.name, OrtValue.ortvalue_from_numpy(self._row))
        for name, result in zip(fetch, self._results, strict=True):
            self._binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(result))

    def run(self, row: Row) -> list[np.ndarray[Any, Any]]:
        """The results, which the next row overwrites. Raises whatever it is for a row that does not go through."""
        self._pack(self._room, 0, *row)
        self._session.run_with_iobinding(self._binding)
        return self._results


class _Onnx:
    def __init__(
        self, session: Any, signature: Signature, options: Mapping[str, Any], build: str, clock: Clock
    ) -> None:
        self.build = build
        self._session = session
        self._signature = signature
        self._clock = clock
        self._width = len(signature.inputs)
        self._required = required_of(signature, options.get("required", ()))
        self._null_string = str(options.get("null_string", ""))
        self._closed = _closed(signature, options.get("closed", ()))
        self._pictures = pictures_of(session, signature, options)
        # Decoding takes milliseconds, and so do the graphs that eat pictures.
        self.capabilities = RuntimeCapabilities(blocking=bool(self._pictures), at_once=_DECODED_AT_ONCE)
        self._alone = any(one.alone for one in self._pictures)
        self._tensors = tuple(_tensors(session, signature, options, {one.name for one in self._pictures}))
        self._fetch, self._pick = _outputs(session, signature, options)
        self._local = threading.local()
        only = self._tensors[0] if len(self._tensors) == 1 and not self._pictures else None
        ordered = only is not None and only.element in _PACKED and only.places == tuple(range(self._width))
        self._matrix = only if ordered else None
        """The only input, where a row of floats is its bytes."""
        self._one_row = [
            (number, tensor.element, _AS_IS[tensor.element], column, place)
            for number, tensor in enumerate(self._tensors)
            for column, place in enumerate(tensor.places)
        ]

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        session = self._session
        if session is None:
            raise ModelRefused("the model was closed")
        check_rows(rows, self._width, self._required)
        for place, name, known in self._closed:
            for row in rows:
                if row[place] is not None and row[place] not in known:
                    raise ModelRefused(f"{name} has a category that the model was not trained on, and it refuses those")
        if not rows:
            return []
        if deadline_us is not None and self._clock.monotonic_us() > deadline_us:
            raise ModelTimeout("the deadline had passed before the model was asked")
        if self._alone and len(rows) > 1:
            return [self.predict([row], deadline_us=deadline_us)[0] for row in rows]
        results = self._run_one(session, rows[0]) if len(rows) == 1 and self._matrix is not None else None
        if results is None:
            feed = self._feed_one(rows[0]) if len(rows) == 1 else self._feed_many(rows)
            if self._pictures:
                feed = {**feed, **{one.name: one.batch(rows, self._signature) for one in self._pictures}}
            results = _asked(session.run, self._fetch, feed)
        if len(self._pick) == 1 and len(rows) == 1:
            return [(self._pick[0](results)[0],)]
        return list(zip(*(pick(results) for pick in self._pick), strict=True))

    def _run_one(self, session: Any, row: Row) -> list[np.ndarray[Any, Any]] | None:
        """The results for a row of floats, by the memory that this thread has bound; None for any other row."""
        bound: _Bound | None = getattr(self._local, "bound", None)
        if bound is not None:
            try:
                return bound.run(row)
            except Exception:  # noqa: BLE001 - a null, a number past every float: what it is, the usual way says
                return None
        results: list[np.ndarray[Any, Any]] = _asked(session.run, self._fetch, self._feed_one(row))
        if self._matrix is not None and all(one.dtype.kind in "fiub" for one in results):
            self._local.bound = _Bound(session, self._matrix, results, self._fetch)
        return results

    def _feed_one(self, row: Row) -> dict[str, np.ndarray[Any, Any]]:
        """Fills this thread's own arrays in place: making 19 new ones costs as much as the model."""
        local = self._local
        try:
            arrays, feed = local.arrays, local.feed
        except AttributeError:
            made = [tensor.empty(1) for tensor in self._tensors]
            local.feed = feed = {tensor.name: array for tensor, array in zip(self._tensors, made, strict=True)}
            # Flat and matrix tensors are written through one shape.
            local.arrays = arrays = [array.reshape(-1) for array in made]
        for number, element, as_is, column, place in self._one_row:
            value = row[place]
            try:
                arrays[number][column] = value if type(value) in as_is else self._value(value, element)
            except (TypeError, ValueError, OverflowError):
                raise wrong_type(self._signature.inputs[place]) from None
        filled: dict[str, np.ndarray[Any, Any]] = feed
        return filled

    def _feed_many(self, rows: Sequence[Row]) -> dict[str, np.ndarray[Any, Any]]:
        columns = columns_of(rows, self._width)
        feed = {}
        for tensor in self._tensors:
            array = tensor.empty(len(rows))
            for column, place in enumerate(tensor.places):
                try:
                    as_is = _AS_IS[tensor.element]
                    values = [
                        value if type(value) in as_is else self._value(value, tensor.element)
                        for value in columns[place]
                    ]
                    if tensor.flat:
                        array[:] = values
                    else:
                        array[:, column] = values
                except (TypeError, ValueError, OverflowError):
                    raise wrong_type(self._signature.inputs[place]) from None
            feed[tensor.name] = array
        return feed

    def _value(self, value: Any, element: str) -> Any:
        if element == "string":
            if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
                return self._null_string
            raise TypeError
        if element in {"float", "double"}:
            if isinstance(value, str) and value not in _NOT_FINITE:
                raise TypeError
            return float("nan") if value is None else float(value)
        if element == "bool" or not isinstance(value, (bool, float)) or not float(value).is_integer():
            raise TypeError
        return int(value)

    def present(self) -> bool:
        return True

    def close(self) -> None:
        self._session = None
        self._local = threading.local()


def _asked(run: Callable[..., Any], *args: Any) -> Any:
    """What the graph gives. Raises ModelRefused."""
    try:
        return run(*args)
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base class
        # Its sentence may quote a value.
        raise ModelRefused(f"the model cannot take this row ({type(error).__name__})") from None


def _closed(signature: Signature, names: Sequence[str]) -> tuple[tuple[int, str, frozenset[str]], ...]:
    return tuple(
        (place, field.name, frozenset(field.categories))
        for place, field in enumerate(signature.inputs)
        if field.name in set(names)
    )


def _tensors(
    session: Any, signature: Signature, options: Mapping[str, Any], pictures: Collection[str] = ()
) -> list[_Tensor]:
    """Which signature input feeds which tensor: as the options say, else by name, else one matrix for all."""
    graph = {node.name: node for node in session.get_inputs() if node.name not in pictures}
    places = {field.name: place for place, field in enumerate(signature.inputs)}
    plan = options.get("inputs")
    if plan is None and set(graph) <= set(places):
        plan = [{"name": name, "columns": [name]} for name in graph]
    if plan is None and len(graph) == 1:
        plan = [{"name": next(iter(graph)), "columns": list(places)}]
    if plan is None:
        lost = sorted(set(graph) - set(places))
        raise ModelRefused(
            f"the graph wants {', '.join(lost)}, which the signature does not have",
            mend=f"the signature has: {', '.join(places)}",
        )
    made = []
    for entry in plan:
        name, columns = entry["name"], tuple(entry["columns"])
        if name in pictures:
            continue
        node = graph.get(name)
        if node is None or any(column not in places for column in columns):
            raise ModelRefused(f"the options feed {name}, which the graph or the signature does not have")
        element = ELEMENTS.get(node.type)
        if element is None:
            raise ModelRefused(f"the input {name} is a {node.type}; known ones: {', '.join(sorted(ELEMENTS))}")
        shape = list(node.shape)
        wide = shape[1] if len(shape) == 2 else 1
        if len(shape) not in {1, 2} or (isinstance(wide, int) and wide != len(columns)):
            raise ModelRefused(f"the input {name} has the shape {shape}, and {len(columns)} column(s) are to feed it")
        made.append(_Tensor(name, element, tuple(places[column] for column in columns), flat=len(shape) == 1))
    unfed = sorted(set(graph) - {tensor.name for tensor in made})
    if unfed:
        raise ModelRefused(f"nothing feeds the graph's input {', '.join(unfed)}")
    return made


Pick = Callable[[list[Any]], list[Any]]


def _outputs(session: Any, signature: Signature, options: Mapping[str, Any]) -> tuple[list[str], list[Pick]]:
    """The tensors to ask for, and for each output of the signature how to take it out of them."""
    graph = {node.name: node for node in session.get_outputs()}
    plan = options.get("outputs") or [{"name": field.name, "tensor": field.name} for field in signature.outputs]
    if [entry["name"] for entry in plan] != [field.name for field in signature.outputs]:
        raise ModelRefused("the options name other outputs than the signature")
    fetch: list[str] = []
    picks: list[Pick] = []
    for entry in plan:
        tensor, column = entry["tensor"], entry.get("column")
        node = graph.get(tensor)
        if node is None:
            raise ModelRefused(f"the graph has no output {tensor!r}", mend=f"it has: {', '.join(graph)}")
        if not node.type.startswith("tensor("):
            raise ModelRefused(
                f"the output {tensor} is a {node.type}, not a tensor",
                mend="convert it without ZipMap: options={'zipmap': False}",
            )
        if column is None and len(node.shape) == 2 and node.shape[1] not in {1, None}:
            raise ModelRefused(
                f"the output {tensor} has {counted(node.shape[1], 'column')}, and the signature does not say which",
                mend=f"--output {entry['name']}={tensor}[1]",
            )
        wide = node.shape[1] if len(node.shape) == 2 else 1
        if column is not None and isinstance(wide, int) and not 0 <= column < wide:
            raise ModelRefused(f"the output {tensor} has {wide} column(s), so there is no [{column}]")
        if tensor not in fetch:
            fetch.append(tensor)
        picks.append(_pick(fetch.index(tensor), column))
    return fetch, picks


def _pick(number: int, column: int | None) -> Pick:
    def take(results: list[Any]) -> list[Any]:
        values = results[number]
        if values.ndim == 2:
            values = values[:, 0 if column is None else column]
        taken: list[Any] = values.tolist()
        return taken

    return take
