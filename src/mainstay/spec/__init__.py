"""mainstay.yaml -> core nouns. The only user of pydantic.

Every fault of the file is told at once, each with file, line, column, what was wanted, what came and what to type.
"""

from mainstay.spec.loading import digest, file_texts, load, load_files, stores, unresolved
from mainstay.spec.purpose import purpose_findings, purpose_summary
from mainstay.spec.schema import schema
from mainstay.spec.secrets import plainly

__all__ = [
    "digest",
    "file_texts",
    "load",
    "load_files",
    "plainly",
    "purpose_findings",
    "purpose_summary",
    "schema",
    "stores",
    "unresolved",
]
