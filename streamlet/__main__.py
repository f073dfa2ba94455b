"""`python -m streamlet` is the `streamlet` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command. Ctrl-C while it is being loaded is no error either."""
    try:
        from streamlet.cli.main import main as command
    except KeyboardInterrupt:
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
