"""What a read says to a source whose tables lie in parts, such as files, each with columns of its own."""

from __future__ import annotations

import msgspec


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Beside a ReadRequest; a source whose tables have one set of columns need not look at it."""

    names: dict[str, tuple[str, ...]] = {}
    """Column -> what it may be called in a part: the first that the part has is read."""
    optional: tuple[str, ...] = ()
    """Columns of the request that are NULL in a part without them."""
    absent: dict[str, str] = {}
    """Columns that the newest part has lost -> their SourceKind. They come behind the others, NULL
    in the parts that lack them."""
