"""How a kind of source is found and opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.core.clock import SystemClock
from mainstay.core.errors import SourceRefused
from mainstay.core.nouns import SourceConfig
from mainstay.sources import BUILT_IN, class_of, kinds, open_source, options_of
from mainstay.sources.sqlite import SqliteSource


def test_every_built_in_kind_has_options_and_a_page(pytestconfig: pytest.Config) -> None:
    for kind in BUILT_IN:
        page = (pytestconfig.rootpath / "docs" / "sources" / f"{kind}.md").read_text()
        for option in options_of(kind).__struct_fields__:
            assert f"`{option}`" in page, f"{kind}: {option}"


def test_a_third_partys_kind_comes_in_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "thirdparty-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[mainstay.sources]\nown = mainstay.sources.sqlite:SqliteSource\nsqlite = nowhere:Nothing\nbroken = nowhere:X\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert class_of("own") is SqliteSource
    assert kinds()["sqlite"] == BUILT_IN["sqlite"]
    with pytest.raises(SourceRefused, match="nowhere:X"):
        class_of("broken")


def test_an_unknown_kind_is_named_with_what_was_meant() -> None:
    with pytest.raises(SourceRefused) as raised:
        options_of("postgers")
    assert "'postgres'" in raised.value.mend


@pytest.mark.parametrize("options", [{}, {"path": 5}, {"path": "x", "pth": "hunter2"}])
def test_options_that_do_not_fit_are_refused_without_their_values(options: dict[str, object]) -> None:
    config = SourceConfig(name="old", kind="sqlite", options=options)
    with pytest.raises(SourceRefused, match="source old") as raised:
        open_source(config, SystemClock())
    assert "hunter2" not in str(raised.value)


def test_options_are_known_without_any_driver() -> None:
    program = (
        "import sys\nfrom mainstay.sources import options_of\n"
        "options_of('postgres'), options_of('sqlite')\n"
        "print([name for name in ('psycopg', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
