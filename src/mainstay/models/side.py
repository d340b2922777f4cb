"""What the lab's environment lacks for us goes into a folder of our own: the environment itself is never written to."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

from mainstay.core.errors import ModelRefused
from mainstay.core.ids import digest_text

# The lab's own versions of these decide which versions of the others can be used beside them.
_BIND = ("numpy", "scipy", "scikit-learn", "pandas", "protobuf", "onnx", "pyarrow")
_ASK = """
import importlib.metadata, importlib.util, json, sys
wanted, bind = json.loads(sys.argv[1])
versions = {}
for name in bind:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "lost": [name for name in wanted if importlib.util.find_spec(name) is None],
    "versions": versions,
}))
"""
_SECONDS = 900


class _Told(TypedDict):
    version: list[int]
    lost: list[str]
    versions: dict[str, str]


def side_folder(python: str, wanted: tuple[str, ...], home: Path) -> Path | None:
    """The folder with those of `wanted` that the interpreter lacks, made under `home` if need be; None: it has all.

    Raises ModelRefused when the interpreter cannot be asked or the libraries cannot be installed.
    """
    told = _asked(python, wanted)
    lost, versions = told["lost"], told["versions"]
    if not lost:
        return None
    name = digest_text(python, *map(str, told["version"]), *(f"{k}={v}" for k, v in sorted(versions.items())), *lost)
    folder = home / ("side-" + name.removeprefix("sha256:")[:16])
    if (folder / ".complete").exists():
        return folder
    home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    pins = folder / "constraints.txt"
    pins.write_text("".join(f"{library}=={version}\n" for library, version in sorted(versions.items())))
    command = install_command(python, tuple(lost), folder, pins, uv=shutil.which("uv"))
    done = subprocess.run(  # noqa: S603 - our own command line
        command, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ModelRefused(
            f"{', '.join(lost)} could not be installed beside the lab's environment: {last[:300]}",
            mend=f"install it there yourself: {python} -m pip install {' '.join(lost)}",
        )
    (folder / ".complete").touch()
    return folder


def install_command(
    python: str, libraries: tuple[str, ...], folder: Path, pins: Path, *, uv: str | None
) -> tuple[str, ...]:
    """The command line that puts `libraries` into `folder`, for the interpreter's version, within its pins."""
    front: tuple[str, ...]
    if uv:
        front = (uv, "pip", "install", "--quiet", "--python", python)
    else:
        front = (python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    return (*front, "--target", str(folder), "--constraint", str(pins), *libraries)


def _asked(python: str, wanted: tuple[str, ...]) -> _Told:
    command = (python, "-I", "-c", _ASK, json.dumps([wanted, _BIND]))
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that a person gave
            command, capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ModelRefused(
            f"the interpreter {python} cannot be run ({type(error).__name__})",
            mend="give the lab's interpreter with --python path/to/venv/bin/python",
        ) from error
    told: _Told = json.loads(done.stdout)
    return told
