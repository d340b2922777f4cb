"""What a client says of a field to whoever reads it: meaning, unit, range, length, pattern, example."""

from __future__ import annotations

from mainstay.core.nouns import Field, Limits


def about(field: Field) -> str:
    """One line; empty where there is nothing to say."""
    limits = field.limits or Limits()
    parts = [
        field.meaning,
        f"in {field.unit}" if field.unit else "",
        _from_to(field.minimum, field.maximum),
        _length(limits),
        f"matches {limits.pattern}" if limits.pattern else "",
        f"{limits.example} say" if limits.example is not None else "",
        {"date": "a date, 2026-01-31 say", "timestamp": "an instant with its offset", "bytes": "base64"}.get(
            field.type, ""
        ),
    ]
    return ", ".join(part.replace("\n", " ").replace("\r", " ") for part in parts if part)


def _from_to(least: float | None, most: float | None) -> str:
    parts = [f"{word} {bound:g}" for word, bound in (("from", least), ("to", most)) if bound is not None]
    return " ".join(parts)


def _length(limits: Limits) -> str:
    least, most = limits.shortest, limits.longest
    if least is None and most is None:
        return ""
    if least is not None and most is not None:
        return f"{least} to {most} characters"
    return f"{least} characters at least" if most is None else f"{most} characters at most"
