"""What a person writes and types: settings, from the schema of the file; commands, from Typer."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from mainstay import spec
from mainstay.cli.commands import COMMANDS, load
from tests.laws.reading import ROOT

_SPAN = re.compile(r"\(\?:ms\|s\|m\|h\|d\)|ms\|s\|m\|h\|d")
_OURS = ("json", "home", "file", "debug")
"""Options of every command; told once."""
_WORDS = {
    "object": "mapping", "array": "list", "string": "text", "integer": "whole number", "number": "number",
    "boolean": "true or false", "null": "nothing",
}  # fmt: skip


def settings() -> str:
    """docs/reference/settings.md."""
    lines = [
        "# Every setting",
        "",
        "Each key of `mainstay.yaml` with its type and default, out of the schema that `mainstay schema` prints.",
        "How values are written is in [file.md](../file.md). `NAME` is a name of yours, `[]` an entry of a list.",
        "Options of a source's kind are on the page of that kind.",
        "",
    ]
    schema = spec.schema()
    sections: dict[str, list[str]] = {"The file": []}
    for path, node in _walk(schema, schema["$defs"], ""):
        first, _, deeper = path.partition(".")
        sections.setdefault(f"`{first}`" if deeper else "The file", []).append(_row(path, node, schema["$defs"]))
    for section, rows in sections.items():
        lines += [f"## {section}", "", "| key | type | default | |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(path: str, node: dict[str, Any], definitions: dict[str, Any]) -> str:
    kind = _type(node, definitions)
    meaning, told = _meanings().get(path, (node.get("description", ""), ""))
    default = "needed" if node.get("needed", False) else _default(node, kind) or told
    return f"| `{path}` | {kind} | {default} | {meaning} |"


def _walk(node: dict[str, Any], definitions: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting below `node` by its dotted path; once each, however many branches name it."""
    seen: set[str] = set()
    for here, child in _settings(node, definitions, path):
        if here not in seen:
            seen.add(here)
            yield here, child


def _settings(node: dict[str, Any], definitions: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if "$ref" in node:
        yield from _settings(definitions[node["$ref"].rsplit("/", 1)[1]], definitions, path)
    for branch in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _settings(branch, definitions, path)
    for key, child in node.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        yield here, {**child, "needed": key in node.get("required", ())}
        yield from _settings(child, definitions, here)
    if isinstance(node.get("items"), dict):
        yield from _settings(node["items"], definitions, f"{path}[]")
    for child in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
        if isinstance(child, dict):
            yield from _settings(child, definitions, f"{path}.NAME")


def _type(node: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The type in words, and the values where they are few."""
    if "$ref" in node:
        return _type(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    if "enum" in node:
        return ", ".join(f"`{value}`" if value != "" else "nothing" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    branches = (*node.get("anyOf", ()), *node.get("oneOf", ()))
    if branches:
        return " or ".join(dict.fromkeys(_type(branch, definitions) for branch in branches))
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}), definitions)}"
    if node.get("type") == "string" and _SPAN.search(node.get("pattern", "")):
        return "duration"
    kinds = node.get("type", [])
    return " or ".join(_WORDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)) + _bounds(node)


def _bounds(node: dict[str, Any]) -> str:
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None and most is not None:
        return f", {least} to {most}"
    return f", at least {least}" if least is not None else ""


def _default(node: dict[str, Any], kind: str) -> str:
    default = node.get("default")
    if kind == "duration" and isinstance(default, int):
        return f"`{_duration(default)}`"
    if default is None or default in ("", [], {}) or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _duration(us: int) -> str:
    """As a person writes it, in the largest unit that leaves a whole number."""
    units = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
    unit = next(name for name, size in units.items() if us % size == 0)
    return f"{us // units[unit]}{unit}"


@functools.cache
def _meanings() -> dict[str, tuple[str, str]]:
    """Path -> the sentence that docs/file.md has for it, and the default as it is told there."""
    found, heading = {}, ""
    for line in (ROOT / "docs" / "file.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            named = re.fullmatch(r"## `(.+)`", line)
            heading = f"{named[1]}." if named else ""
        row = re.match(r"\| `([^`]+)` \| (.*?) \|(?: (.*?) \|)?", line)
        if row:
            told = "" if row[3] in {None, "none", "see below"} else row[3]
            found[heading + row[1]] = (re.sub(r"\]\((?!#|\w+:)", "](../", row[2]), told)
    return found


def commands() -> str:
    """docs/reference/commands.md."""
    lines = [
        "# Every command and option",
        "",
        "As the commands themselves say it. [cli.md](../cli.md) tells what they are for, with examples and exit",
        "codes.",
        "",
        "On every command: " + "; ".join(_everywhere()) + ".",
    ]
    for name in COMMANDS:
        command = load(name)
        inner = getattr(command, "commands", None)
        if inner:
            for part, one in inner.items():
                lines += _command(f"{name} {part}", one)
        else:
            lines += _command(name, command)
    return "\n".join(lines)


def _everywhere() -> Iterator[str]:
    for option in load("check").params:
        if option.name in _OURS:
            yield f"`{' '.join(option.opts)}` ({option.help.rstrip('.')})"


def _command(name: str, command: Any) -> list[str]:
    arguments = [each for each in command.params if not each.opts[0].startswith("-")]
    options = [each for each in command.params if each.opts[0].startswith("-") and each.name not in (*_OURS, "help")]
    usage = " ".join(
        [f"mainstay {name}", *(_argument(each) for each in arguments), *(["[OPTIONS]"] if options else [])]
    )
    said, _, example = (command.help or "").replace("\\[", "[").partition("\nExample: ")
    example = example.partition("\n\n")[0].partition("\n#")[0]
    said = said.removesuffix(":\n").removesuffix("; editors then complete and check as you type")
    lines = [
        "",
        f"## `mainstay {name}`",
        "",
        *(" ".join(each.split()) + "\n" for each in said.split("\n\n") if each.strip()),
    ]
    lines += ["```text", usage, *([f"for example: {' '.join(example.split())}"] if example else []), "```"]
    if arguments or options:
        lines += ["", "| | takes | default | |", "|---|---|---|---|"]
    for each in (*arguments, *options):
        shown = each.name.upper() if each in arguments else ", ".join((*each.opts, *each.secondary_opts))
        said = (each.help or "").replace("\\[", "[").replace("|", "\\|")
        lines.append(f"| `{shown}` | {_takes(each)} | {_given(each)} | {said} |")
    return lines


def _argument(argument: Any) -> str:
    shown = argument.name.upper() + (" ..." if argument.nargs == -1 else "")
    return shown if argument.required else f"[{shown}]"


def _takes(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    several = get_origin(kind) is list or parameter.nargs == -1
    kind = get_args(kind)[0] if get_origin(kind) is list else kind
    names = {"str": "text", "int": "whole number", "float": "number", "Path": "path", "bool": ""}
    name = names.get(getattr(kind, "__name__", ""), getattr(kind, "__name__", "text").lower())
    return f"{name}, as often as needed" if several else name


def _given(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    default = parameter.default
    if default is None or default is False or default in ((), []):
        return ""
    return "yes" if default is True else f"`{default}`"
