"""How long measuring may take. A profile fixes processes and seconds; what they yield decides which rows are given."""

from dataclasses import dataclass, replace

from plaster_ops.errors import SettingsError

_LEAST_SCALE = 0.25
_FOR_PROCESSES = 0.97
"""Of the budget; the rest is for reading and judging what they brought home, and for starting them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Seconds are per engine and process unless said otherwise.

    `total_s` is the budget of two engines together over all processes, process starts included; it grows with a third
    engine and does not bound the profile `full`, whose durations are minimums.
    """

    name: str
    processes: int
    total_s: float
    warmup_s: float
    warmup_limit_s: float
    single_s: float
    block_s: float
    """One engine's turn; see `turns.block_count`."""
    probe_s: float
    """One batch of the throughput search; process 0 only."""
    search_limit_s: float
    """The whole search, all engines together."""
    throughput_s: float
    certify_limit_s: float
    """How far `throughput_s` may stretch so that the latency limit can be certified."""
    energy_block_s: float
    """Length of a throughput block where an energy counter that ticks slowly is read."""
    eager_s: float
    offline_s: float = 0.0
    """At the fastest batch, the limit aside; nothing where that is the batch of `throughput_s`."""
    server_s: float = 0.0
    """Server mode, where it was asked for: search and certification in process 0; a quarter of it in the others."""

    @property
    def timeout_s(self) -> float:
        """When a measuring process is given up: far beyond its budget, which a slow engine may overrun."""
        return 120.0 + 4 * self.process_limit_s(3)

    def process_limit_s(self, engines: int) -> float:
        """Wall seconds one process may take with that many engines, its start included."""
        return _FOR_PROCESSES * self.total_s / self.processes * max(1.0, engines / 2)

    def needed_s(self, engines: int, *, searching: bool, eager: bool, server: bool = False) -> float:
        """Timed seconds this profile asks of one process, loading not counted.

        Of warm-up its most: a busy machine takes it.
        """
        per_engine = self.warmup_limit_s + self.single_s + self.throughput_s + self.offline_s
        per_engine += self.server_s * (1.0 if searching else 0.25) * server
        return engines * per_engine + self.search_limit_s * searching + (self.eager_s + self.warmup_limit_s) * eager

    def shortened(self, scale: float) -> "Profile":
        """Every duration but a block's times `scale`, which is kept between 0.25 and 1."""
        kept = min(1.0, max(_LEAST_SCALE, scale))
        return replace(
            self,
            warmup_s=self.warmup_s * kept,
            warmup_limit_s=self.warmup_limit_s * kept,
            single_s=self.single_s * kept,
            search_limit_s=self.search_limit_s * kept,
            throughput_s=self.throughput_s * kept,
            certify_limit_s=self.certify_limit_s * kept,
            eager_s=self.eager_s * kept,
            offline_s=self.offline_s * kept,
            server_s=self.server_s * kept,
        )


SMOKE = Profile(
    name="smoke",
    processes=2,
    total_s=20.0,
    warmup_s=0.25,
    warmup_limit_s=0.4,
    single_s=1.25,
    block_s=0.005,
    probe_s=0.06,
    search_limit_s=1.2,
    throughput_s=0.8,
    certify_limit_s=2.0,
    energy_block_s=0.5,
    eager_s=0.25,
    offline_s=0.3,
    server_s=3.0,
)
STANDARD = Profile(
    name="standard",
    processes=3,
    total_s=150.0,
    warmup_s=2.0,
    warmup_limit_s=3.0,
    single_s=10.0,
    block_s=0.01,
    probe_s=0.25,
    search_limit_s=4.0,
    throughput_s=6.0,
    certify_limit_s=10.0,
    energy_block_s=3.5,
    eager_s=1.0,
    offline_s=1.5,
    server_s=16.0,
)
FULL = Profile(
    name="full",
    processes=3,
    total_s=4800.0,
    warmup_s=2.0,
    warmup_limit_s=10.0,
    single_s=200.0,
    block_s=0.05,
    probe_s=5.0,
    search_limit_s=120.0,
    throughput_s=200.0,
    certify_limit_s=300.0,
    energy_block_s=20.0,
    eager_s=10.0,
    offline_s=60.0,
    server_s=600.0,
)
RACE = Profile(
    name="race",
    processes=1,
    total_s=24.0,
    warmup_s=0.2,
    warmup_limit_s=0.6,
    single_s=1.2,
    block_s=0.01,
    probe_s=0.1,
    search_limit_s=6.0,
    throughput_s=0.4,
    certify_limit_s=0.4,
    energy_block_s=0.4,
    eager_s=0.0,
)
"""Candidates of the ladder against each other; nobody asks for it by name."""
PROFILES = {profile.name: profile for profile in (SMOKE, STANDARD, FULL, RACE)}


def find_profile(name: str) -> Profile:
    """The profile of that name; raises `SettingsError` that lists the known ones."""
    if name not in PROFILES:
        raise SettingsError(f"measure profile {name!r} does not exist", f"known profiles: {', '.join(PROFILES)}")
    return PROFILES[name]
