"""A year of twenty pipelines on a simulated clock: is every slot accounted for exactly once, and how long does it take?

    python -m benchmarks.schedule_year [--days 365] [--seed 1]

One pipeline a minute and nineteen an hour, in three zones with their changes of summer time; every three days on
average the service dies or is drained for seconds to days, the clock is set forward or back by a second to three days,
a pipeline is paused or resumed, or the settings are read again. Retrains take 5 s to 150 minutes and end with any exit
code. `tests/scheduler/reckoning.py` counts again, without a cron library, which slots there were.
"""

import argparse
import random
import time
from collections import Counter
from datetime import UTC, datetime

from tests.scheduler.memory_file import MemoryLedger
from tests.scheduler.reckoning import check
from tests.scheduler.simulation import DAY_S, World, year_plans


def main() -> None:
    """Simulates, checks, and prints what came of the slots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=365.0)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    began_s = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    world = World(MemoryLedger(), year_plans(), random.Random(wanted.seed), began_s=began_s)
    clock_s, cpu_s = time.monotonic(), time.process_time()
    world.live(began_s + wanted.days * DAY_S)
    simulated_s = time.monotonic() - clock_s
    states = Counter[str]()
    for counts in check(world).values():
        states.update(counts)
    print(f"{wanted.days:g} days, seed {wanted.seed}: {states.total():,} slots, each with one row")
    print("  " + ", ".join(f"{count:,} {state}" for state, count in sorted(states.items())))
    print(f"  {world.started.total():,} starts on {world.devices} devices, at most {world.at_once} at once;", end=" ")
    print(f"at most {world.most_waiting} of {world.queue_max} waited")
    print("  " + ", ".join(f"{count} times {what}" for what, count in sorted(world.steps.items())))
    print(f"  simulated in {simulated_s:.1f} s, checked by {time.monotonic() - clock_s:.1f} s", end="")
    print(f" ({time.process_time() - cpu_s:.1f} s of CPU)")


if __name__ == "__main__":
    main()
