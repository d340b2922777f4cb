"""Every benchmark, one after the other: `make bench`, or `make bench ARGS=publish` for one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    folder = Path(__file__).parent
    names = [path.stem.removeprefix("bench_") for path in sorted(folder.glob("bench_*.py"))]
    wanted = sys.argv[1:] or names
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise SystemExit(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(names)}")
    failed = []
    for name in wanted:
        print(f"--- {name}", flush=True)
        if subprocess.run([sys.executable, folder / f"bench_{name}.py"], check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"these did not come to their end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
