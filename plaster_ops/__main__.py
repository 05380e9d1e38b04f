"""`plaster-ops` and `python -m plaster_ops`."""

import sys

from plaster_ops.cli.app import run


def main() -> None:
    """Runs the command line and exits with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
