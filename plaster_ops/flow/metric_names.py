"""From what a person types to the metric that is meant: a key, the end of one, or the nearest known."""

import difflib
from collections.abc import Collection, Iterable

from plaster_ops.domain.metric import Metric
from plaster_ops.domain.metrics import CATALOGUE, find_metric
from plaster_ops.errors import UsageError
from plaster_ops.tracking.names import split_unit

_MOST_NAMED = 3


def meant_metric(text: str, preferred: Collection[str] = ()) -> Metric:
    """The metric of that key, or the only one that ends so, without its unit too: `p50`, `engine_bytes`.

    Where several end so, the only one of `preferred` (what a run measured) is meant, or else the only headline. Raises
    `UsageError` that names the candidates or the nearest key.
    """
    wanted = text.strip().lower()
    if wanted in CATALOGUE:
        return find_metric(wanted)
    ending = [key for key in CATALOGUE if _ends(key, wanted)]
    among = [key for key in ending if key in preferred]
    for found in (ending, among, [key for key in ending if CATALOGUE[key].headline]):
        if len(found) == 1:
            return find_metric(found[0])
    if ending:
        raise UsageError(f"{text!r} may be any of: {', '.join(among or ending)}", "write more of the key")
    holding = [key for key in CATALOGUE if wanted and wanted in key][:_MOST_NAMED]
    near = " or ".join(holding or [_nearest(wanted)])
    raise UsageError(f"no metric is called {text!r}", f"did you mean {near}? All are in docs/metrics.md")


def _ends(key: str, wanted: str) -> bool:
    if not wanted:
        return False
    forms = (key, split_unit(key)[0])
    return any(form == wanted or form.endswith(("/" + wanted, "_" + wanted)) for form in forms)


def _nearest(wanted: str) -> str:
    names: dict[str, str] = {}
    for key in CATALOGUE:
        names |= dict.fromkeys(_names(key), key)
    return names[difflib.get_close_matches(wanted, list(names), n=1, cutoff=0.0)[0]]


def _names(key: str) -> Iterable[str]:
    stem = split_unit(key)[0]
    return (key, stem, key.partition("/")[2], stem.partition("/")[2])
