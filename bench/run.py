"""Every benchmark, one after the other: `make bench`, or `make bench ARGS=publish` for one of them.

Options go on to each: `make bench ARGS="load checks --small"`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    folder = Path(__file__).parent
    names = [path.stem.removeprefix("bench_") for path in sorted(folder.glob("bench_*.py"))]
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    wanted = [word for word in sys.argv[1:] if word not in options] or names
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise SystemExit(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(names)}")
    failed = []
    for name in wanted:
        print(f"--- {name}", flush=True)
        if subprocess.run([sys.executable, folder / f"bench_{name}.py", *options], check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"these did not come to their end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
