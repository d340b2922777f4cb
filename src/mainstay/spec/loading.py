"""mainstay.yaml and the files that it names -> `Integration`, or every fault at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.errors import FileError, Problem
from mainstay.core.ids import digest_text
from mainstay.core.nouns import Integration
from mainstay.spec import build, document, map_files, profile_files, secrets, sources
from mainstay.spec.crosschecks import cross_check, is_path, sql_path
from mainstay.spec.faults import Faults
from mainstay.spec.installation import RELATIVE, Shared, shared
from mainstay.spec.plain import mapping, text
from mainstay.spec.schema import example_at
from mainstay.spec.shape import FilePart, OnlyStores
from mainstay.spec.shape_faults import validated
from mainstay.store.installation import INSTALLATION, MAIN, installation_of


def load(path: Path, *, kinds: Mapping[str, type[msgspec.Struct]], env: Mapping[str, str]) -> Integration:
    """The integration that the file at `path` says.

    Args:
        path: Where mainstay.yaml lies.
        kinds: Kind of source -> its options record.
        env: Where `${VAR}` is looked for: the environment of the process.

    Raises:
        FileError: with every fault of the file, each located.
    """
    files = file_texts(path)
    return load_files(files, path.parent, kinds=kinds, env=env, main=path.name, shown=str(path))


def unresolved(path: Path) -> dict[str, Any]:
    """The file's tree as it is written, what is shared in it, placeholders and all: for whoever must not know a secret.

    Raises:
        FileError: when there is no tree. Other faults are for `load` to tell.
    """
    faults, files = Faults(str(path)), file_texts(path)
    tree = document.read(files[path.name], faults) or {}
    common = document.read(files[RELATIVE], faults) if files.get(RELATIVE) else None
    faults.raise_any()
    tree["sources"] = {**mapping((common or {}).get("sources")), **mapping(tree.get("sources"))}
    tree.setdefault("stores", (common or {}).get("stores"))
    return tree


def load_files(
    files: Mapping[str, str],
    folder: Path,
    *,
    kinds: Mapping[str, type[msgspec.Struct]],
    env: Mapping[str, str],
    main: str = MAIN,
    shown: str = "",
) -> Integration:
    """The integration that stored texts say: what `apply` keeps and every process runs.

    Args:
        files: Texts by relative path, as `file_texts` gives them; `main` among them.
        folder: Where relative `${file:path}` start.
        kinds: Kind of source -> its options record.
        env: Where `${VAR}` is looked for.
        main: Which of the texts is the file itself.
        shown: What the file is called in faults; `main` when left out.

    Raises:
        FileError: with every fault, each located.
    """
    faults = Faults(shown or main)
    tree = document.read(files[main], faults)
    if tree is None:
        faults.raise_any()
        raise AssertionError("a document without a tree has a fault")
    found = secrets.Secrets(folder, env, faults)
    common = Shared()
    if RELATIVE in files:
        common = shared(files[RELATIVE], folder.parent.parent, kinds=kinds, env=env)
    options = {
        name: sources.options(name, mapping(source), kinds=kinds, secrets=found, faults=faults)
        for name, source in mapping(tree.get("sources")).items()
    }
    if "stores" in tree:  # What cannot be resolved is told with the rest; nothing of it is kept.
        found.resolved(tree["stores"], ("stores",))
    for path in secrets.MODEL:  # The same; the process that asks the model resolves them again.
        found.resolved(mapping(mapping(tree.get("model")).get("http")).get(path[-1]), path)
    secrets.refuse_outside(tree, (), faults)
    _join(tree, common, faults)
    file = validated(tree, faults, FilePart)
    cross_check(tree, files, faults)
    faults.raise_any()
    if file is None:
        raise AssertionError("a file without a shape has a fault")
    whole = build.integration(
        file, options={**common.options, **options}, files=files, digest=digest(files), folder=str(folder)
    )
    return _belonging(whole, common, folder)


def _belonging(whole: Integration, common: Shared, folder: Path) -> Integration:
    """The integration whose shared sources know the installation that they belong to."""
    ours = {
        name: msgspec.structs.replace(source, installation=str(folder.parent.parent))
        for name, source in whole.sources.items()
        if name in common.tree
    }
    return msgspec.structs.replace(whole, sources={**whole.sources, **ours})


def _join(tree: dict[str, Any], common: Shared, faults: Faults) -> None:
    """The shared sources beside the file's own, as if all of them stood in it."""
    own = mapping(tree.get("sources"))
    for name in own.keys() & common.tree.keys():
        mend = "take it out of one of them; what integrations share stands in installation.yaml"
        faults.at(("sources", name), "a source that installation.yaml does not have", f"`{name}`", mend, key=True)
    if common.tree:
        tree["sources"] = {**common.tree, **own}
    elif "sources" not in tree:
        example = example_at(("sources",))
        faults.at(("sources",), "the key `sources`", "nothing", f"add `sources: {example}`, say")
    elif isinstance(tree["sources"], dict) and not own:
        faults.at(("sources",), "a source", "none", "add one: `{crm: {kind: postgres}}`")


def file_texts(path: Path) -> dict[str, str]:
    """The file's text and the text of every file of SQL, of values or of a profile that it names, by relative path.

    Files that are missing are left out: `load_files` tells of them, with their line.

    Raises:
        FileError: when the file itself cannot be read.
    """
    main = _text(path)
    if main is None:
        came = "a folder" if path.is_dir() else "a file that is not UTF-8 text" if path.exists() else "none"
        mend = "type `mainstay demo` for a first one, or give the path: --file PATH"
        if path.is_file():
            mend = "save it as UTF-8, or give the path of another: --file PATH"
        raise FileError((Problem(str(path), 1, 1, "the file", "a readable mainstay.yaml", came, mend),))
    files = {path.name: main}
    installation = installation_of(path)
    if installation is not None:
        files[RELATIVE] = _text(installation / INSTALLATION) or ""
    tree: dict[str, Any] = document.read(main, Faults(path.name)) or {}
    for feature in mapping(tree.get("features")).values():
        sql = text(mapping(feature).get("sql"))
        if is_path(sql) and not Path(sql).is_absolute():
            content = _text(path.parent / sql)
            if content is not None:
                files[sql_path(sql)] = content
    profiles = [file for _, file, *_ in profile_files.named(tree)]
    for file in [*(file for _, file in map_files.named(tree)), *profiles]:
        content = None if Path(file).is_absolute() else _text(path.parent / file)
        if content is not None:
            files[map_files.path(file)] = content
    return files


def stores(text: str, shown: str = MAIN) -> dict[str, str]:
    """What `stores:` of a file says, placeholders as they stand; empty without it.

    `state`, `online` and `folder`; `journal` where it says that. Raises FileError when it says it in another form.
    """
    faults = Faults(shown)
    tree = document.read(text, faults) or {}
    faults.raise_any()
    if tree.get("stores") is None:
        return {}
    part = validated({"stores": tree["stores"]}, faults, OnlyStores)
    faults.raise_any()
    if part is None:
        raise AssertionError("a part without a shape has a fault")
    said = part.stores
    journal = {"journal": said.journal.url} if said.journal else {}
    return {"state": said.state.url, "online": said.online.url, "folder": said.folder, **journal}


def digest(files: Mapping[str, str]) -> str:
    """One digest over relative paths and texts, in the order of the paths; secrets are not in it."""
    return digest_text(*(part for name in sorted(files) for part in (name, files[name])))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
