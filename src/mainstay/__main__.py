"""`mainstay`, and `python -m mainstay`: as little as can be before whoever interrupts is told so, without a trace."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line of `sys.argv`, and exits the process."""
    try:
        from mainstay.cli.main import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
