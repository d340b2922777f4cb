"""`mainstay schema`."""

from __future__ import annotations

from mainstay.cli.output import write_json


def schema() -> None:
    """Print the JSON Schema of mainstay.yaml, for editors.

    Keep it beside the file and let the file begin with `# yaml-language-server: $schema=mainstay.schema.json`: editors
    then complete and check as you type.

    Example: mainstay schema > mainstay.schema.json
    """
    from mainstay import spec

    write_json(spec.schema())
