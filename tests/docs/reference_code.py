"""What the code says of itself: events, errors, problem types, metrics; read from its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from mainstay.cli import main
from mainstay.http.problems import TITLES
from mainstay.serving.faults import CODES
from mainstay.serving.judge import STATUS
from tests.laws.reading import Module, dotted, read_modules


class _Told(NamedTuple):
    kind: str
    fields: tuple[str, ...]


def events() -> str:
    """docs/reference/events.md."""
    found: dict[str, _Told] = {}
    for module in read_modules():
        if not module.path.startswith("app/demo/"):
            for one in _events(module):
                before = found.get(one.kind)
                fields = tuple(dict.fromkeys((*(before.fields if before else ()), *one.fields)))
                found[one.kind] = one._replace(fields=fields)
    lines = [
        "# Every event of the journal",
        "",
        "What the journal keeps beside receipts. Each has `kind`, `at_us` (UTC microseconds), `receipt` where it is of",
        "one, `by` (a process, a caller or a person) and a `body` with these fields. They lie in history's table",
        "`events`; [receipts.md](../receipts.md#the-history-tables) shows how to query it. `audit.*` says who changed",
        "what; `number` is that of its record in the [audit](../audit.md).",
        "",
        "| kind | fields of `body` |",
        "|---|---|",
    ]
    for kind, one in sorted(found.items()):
        lines.append(f"| `{kind}` | {', '.join(f'`{name}`' for name in one.fields)} |")
    return "\n".join(lines)


def _events(module: Module) -> Iterator[_Told]:
    """Calls of `tell`, `audit`, `change` and `_record`, and `Event(...)` itself, where they name the kind."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func).rpartition(".")[2]
        kind = _text(node.args[0]) if node.args else _text(_keyword(node, "kind"))
        if kind is None:
            continue
        if name in ("audit", "change"):
            yield _Told(f"audit.{kind}", ("number", "object", *_keys(node.args[2])))
        elif name == "tell" and "." in kind:
            yield _Told(kind, _keys(node.args[1]))
        elif name == "_record":
            function = _around(module, node)
            yield _Told(kind, (*_keys(node.args[-1], function), "id", "caller"))
        elif name == "Event":
            yield _Told(kind, _keys(_keyword(node, "body")))


def _around(module: Module, inner: ast.AST) -> ast.AST | None:
    functions = [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef)]
    return next((one for one in functions if any(node is inner for node in ast.walk(one))), None)


def _keys(node: ast.expr | None, function: ast.AST | None = None) -> tuple[str, ...]:
    """Keys of a literal dict, or of the one that was given the name in this function. `**counts` are the counts."""
    if isinstance(node, ast.Name) and function is not None:
        values = [each.value for each in ast.walk(function) if isinstance(each, ast.Assign) and _names(each, node.id)]
        return _keys(values[0]) if values else ()
    if not isinstance(node, ast.Dict):
        return ()
    return tuple("counts" if key is None else _text(key) or "" for key in node.keys)


def _names(assign: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in assign.targets)


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


class _Error(NamedTuple):
    name: str
    base: str
    code: int | None
    transient: bool
    means: str


def errors() -> str:
    """docs/reference/errors.md."""
    found = {one.name: one for module in read_modules() for one in _errors(module)}
    known = {"MainstayError"}
    while grown := {name for name, one in found.items() if one.base in known} - known:
        known |= grown
    lines = [
        "# Every error and exit code",
        "",
        "An error says what was wanted, what came, where, and what to do; with `--json` as one document.",
        "*Transient* ones may pass, and are tried again by the loop, with back-off; the others wait for a person.",
        "",
        "| exit code | means |",
        "|---|---|",
    ]
    known = {name for name in known if not name.startswith("_")}
    rows = re.findall(r"^\| (\d+) +\| (.*?) +\|$", main.__doc__ or "", re.MULTILINE)
    lines += [f"| {code} | {means} |" for code, means in rows]
    lines += ["", "| error | is a | exit code | transient | |", "|---|---|---|---|---|"]
    for name in sorted(known, key=lambda name: (_code(found, name), name)):
        one = found[name]
        shown = "yes" if one.transient else ""
        lines.append(f"| `{name}` | {one.base and f'`{one.base}`'} | {_code(found, name)} | {shown} | {one.means} |")
    return "\n".join(lines)


def _errors(module: Module) -> Iterator[_Error]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.bases:
            said = {
                _names_one(each): each.value.value
                for each in node.body
                if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
            }
            base = dotted(node.bases[0]).rpartition(".")[2]
            code = said.get("exit_code")
            if isinstance(code, int) or code is None:
                means = (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
                base = "" if base == "Exception" and node.name == "MainstayError" else base
                yield _Error(node.name, base, code, bool(said.get("transient")), means)


def _names_one(assign: ast.Assign) -> str:
    return assign.targets[0].id if isinstance(assign.targets[0], ast.Name) else ""


def _code(found: dict[str, _Error], name: str) -> int:
    named = {"Interrupted": main.INTERRUPTED, "Internal": main.INTERNAL}
    if name in named:
        return named[name]
    one = found[name]
    return one.code if one.code is not None else _code(found, one.base) if one.base in found else 1


def problem_types() -> str:
    """docs/reference/problems.md."""
    statuses: dict[str, set[int]] = {code: {status} for code, status in STATUS.items()}
    statuses |= {code: {status} for status, code in CODES.items()}
    for module in read_modules():
        if module.path.startswith(("grpc/", "http/", "serving/")):
            for code, status in _statuses(module):
                statuses.setdefault(code, set()).add(status)
    lines = [
        "# Every problem type of the API",
        "",
        "`type` of an error is `/docs#CODE`; the fields beside it are in [api.md](../api.md#errors), the policies",
        "that choose between refusing, flagging and falling back in [answering.md](../answering.md).",
        "",
        "| code | status | title |",
        "|---|---|---|",
    ]
    for code, title in TITLES.items():
        shown = ", ".join(map(str, sorted(statuses.get(code, ()))))
        lines.append(f"| `{code}` | {shown} | {title} |")
    return "\n".join(lines)


def _statuses(module: Module) -> Iterator[tuple[str, int]]:
    """`told("code", 503, ...)`, `Refusal(503, "code", ...)`, `Fault(code=..., status=...)`, and `BadRequest`."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name, values = dotted(node.func).rpartition(".")[2], [_plain(each) for each in node.args[:2]]
        match name, values:
            case "told", [str() as code, int() as status]:
                yield code, status
            case "told", [None, int() as status] if isinstance(node.args[0], ast.Name):
                yield from ((code, status) for code in _codes(module, node.args[0]))
            case "Refusal", [int() as status, str() as code]:
                yield code, status
            case "BadRequest", _:
                given = _plain(_keyword(node, "status"))
                status = given if isinstance(given, int) else 422
                yield CODES.get(status, "invalid"), status
            case "Fault", _ if isinstance(given := _plain(_keyword(node, "status")), int):
                which = _keyword(node, "code")
                found = _codes(module, which) if isinstance(which, ast.Name) else {_plain(which)}
                yield from ((one, given) for one in found if isinstance(one, str))
            case _:
                pass


def _codes(module: Module, name: ast.Name) -> set[str]:
    """The problem types that a name may stand for: those in the last assignment to it above."""
    above = [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign) and _names(node, name.id) and node.lineno < name.lineno
    ]
    last = max(above, key=lambda node: node.lineno, default=name)
    return {text for node in ast.walk(last) if isinstance(node, ast.Constant) and (text := node.value) in TITLES}


def _plain(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def metrics() -> str:
    """docs/reference/metrics.md."""
    (module,) = (one for one in read_modules() if one.path == "http/metrics.py")
    lines = [
        "# Every metric",
        "",
        "`GET /metrics` gives them in Prometheus' text format, to API keys with the role `operate`. Counters are",
        "the sum over every worker; ages are computed when they are asked for.",
        "",
        "| metric | kind | labels | |",
        "|---|---|---|---|",
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func).rpartition(".")[2]
            kind = "counter" if name == "_labelled" else name.removesuffix("MetricFamily").lower()
            texts = [_text(each) for each in node.args[:2]]
            if (name == "_labelled" or name.endswith("MetricFamily")) and len(texts) == 2 and None not in texts:
                labels = _keyword(node, "labels") or (node.args[2] if len(node.args) > 2 else None)
                named = [_text(each) for each in labels.elts] if isinstance(labels, ast.Tuple) else []
                suffix = "_total" if kind == "counter" else ""
                shown = ", ".join(f"`{each}`" for each in named)
                lines.append(f"| `{texts[0]}{suffix}` | {kind} | {shown} | {texts[1]} |")
    return "\n".join(lines)
