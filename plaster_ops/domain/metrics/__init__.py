"""The catalogue: every metric that is logged, declared once, one file a letter.

A key means the same in every run: batch, precision and backend are params, never part of a key. Unit and scope stand
in the name. Ratios are 0..1, energy is joules, size is bytes. No room writes a key as text: it uses these constants.
"""

from plaster_ops.domain.metric import Better as Better
from plaster_ops.domain.metric import Letter as Letter
from plaster_ops.domain.metric import Metric as Metric
from plaster_ops.domain.metric import Scale as Scale
from plaster_ops.domain.metrics.accuracy import *
from plaster_ops.domain.metrics.declare import declared
from plaster_ops.domain.metrics.energy import *
from plaster_ops.domain.metrics.env import *
from plaster_ops.domain.metrics.inputs import *
from plaster_ops.domain.metrics.latency import *
from plaster_ops.domain.metrics.learning import *
from plaster_ops.domain.metrics.programmability import *
from plaster_ops.domain.metrics.size import *
from plaster_ops.domain.metrics.throughput import *

_ORDER = tuple(Letter)
CATALOGUE: dict[str, Metric] = {m.key: m for m in sorted(declared.values(), key=lambda m: _ORDER.index(m.letter))}
HEADLINES: tuple[Metric, ...] = tuple(metric for metric in CATALOGUE.values() if metric.headline)


def find_metric(key: str) -> Metric:
    """The declared metric of that key; `KeyError` names the key where there is none."""
    return CATALOGUE[key]
