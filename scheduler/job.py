"""In the child: one retrain that dies with the scheduler that started it.

`python -m scheduler.job FD COMMAND...`: FD is the read end of a pipe that the scheduler holds open and never writes to.
"""

import sys


def main() -> None:
    """The command of plaster-ops, watched; exits with its code."""
    from plaster_ops.processes.liveness import die_with_parent

    die_with_parent(int(sys.argv[1]))
    from plaster_ops.cli.app import run

    sys.exit(run(sys.argv[2:]))


if __name__ == "__main__":
    main()
