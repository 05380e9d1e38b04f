"""How our names become MLflow's: metric keys, interval keys, tags, registered model names, and what is refused.

MLflow takes `[/\\w.\\- :]` in keys, at most 250 characters, and a key may become a file path, so no key may be a
folder of another. NaN, infinities and booleans are never sent: a missing metric is a missing key and a status tag.
"""

import hashlib
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from plaster_ops.errors import TrackingUnavailable

MAX_KEY_CHARACTERS = 250
MAX_TAG_CHARACTERS = 8000
MAX_PARAM_CHARACTERS = 6000
MAX_VERSION_TAG_CHARACTERS = 5000
MAX_DIGEST_CHARACTERS = 36
MAX_METRICS_PER_BATCH = 1000

AXES = {
    "P": "programmability",
    "L": "latency",
    "A": "accuracy",
    "S": "size",
    "T": "throughput",
    "E": "energy",
    "R": "learning",
}
# The closed list of units; composed ones stand before the simple ones that end like them.
_UNITS = (
    *("per_day", "per_s", "per_j", "ms", "s", "bytes", "count", "ratio", "j", "w", "c", "mhz"),
    *("macs", "flops", "score", "nats", "pvalue", "lines"),
)
_KEY = re.compile(r"^[/\w.\- :]+$")


class RecordRefused(TrackingUnavailable):
    """The tracker was reached and will not take this record as it is. Replaying it changes nothing."""


def split_unit(key: str) -> tuple[str, str]:
    """`latency/e2e_p50_ms` -> (`latency/e2e_p50`, `_ms`); the unit is empty where the key ends in none."""
    for unit in _UNITS:
        if key.endswith(f"_{unit}"):
            return key[: -len(unit) - 1], f"_{unit}"
    return key, ""


def interval_keys(key: str) -> tuple[str, str]:
    """Keys of the lower and the upper bound of a metric's 95 % interval."""
    stem, unit = split_unit(key)
    return f"{stem}_ci95lo{unit}", f"{stem}_ci95hi{unit}"


def sample_count_key(key: str) -> str:
    """Key of the evidence count of a metric."""
    return f"{split_unit(key)[0]}_n_count"


def estimate_key(key: str) -> str:
    """`energy/cpu_w` -> `energy/est_cpu_w`: an estimate never stands where a measurement would."""
    axis, separator, name = key.rpartition("/")
    return key if name.startswith("est_") else f"{axis}{separator}est_{name}"


def is_number(value: Any) -> bool:
    """True for a finite int or float that is no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Raises `RecordRefused`, naming the key, where a value is no finite number or keys cannot coexist in MLflow."""
    for key, value in metrics.items():
        if not is_number(value):
            raise RecordRefused(
                f"metric {key} = {value!r} is no finite number", "leave the key out and say why in a tag"
            )
        if not _is_key(key):
            raise RecordRefused(f"{key!r} is not a metric key MLflow takes", "use letters, digits and _ - . / only")
    clash = find_clash(metrics)
    if clash:
        raise RecordRefused(f"metric {clash} is also a folder of other metrics", "rename one of them")


def _is_key(key: str) -> bool:
    fits = len(key) <= MAX_KEY_CHARACTERS and _KEY.match(key) is not None and posixpath.normpath(key) == key
    return fits and key != "." and not key.startswith(("/", ".."))


def find_clash(keys: Iterable[str]) -> str | None:
    """A key that is a folder of another one (`a` beside `a/b`); None where all can coexist."""
    known = set(keys)
    for key in sorted(known):
        parts = key.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in known:
                return "/".join(parts[:depth])
    return None


def clean_key(text: str) -> str:
    """The text as a key: forbidden characters become `_`, empty and dotted path parts go, too long ends in a digest."""
    parts = [part for part in re.sub(r"[^/\w.\- ]", "_", text).split("/") if part.strip(". ")]
    key = "/".join(parts) or "unnamed"
    return key if len(key) <= MAX_KEY_CHARACTERS else _marked(key, text)


def clean_curve_keys(keys: Iterable[str]) -> dict[str, str]:
    """For each of the user's own keys the one it is logged under: distinct, and none a folder of another."""
    cleaned: dict[str, str] = {}
    for key in dict.fromkeys(keys):
        clean = clean_key(key)
        cleaned[key] = _marked(clean, key) if clean in cleaned.values() else clean
    while (clash := find_clash(cleaned.values())) is not None:
        key = next(key for key, clean in cleaned.items() if clean == clash)
        plain = f"{clash}.value"
        usable = plain not in cleaned.values() and len(plain) <= MAX_KEY_CHARACTERS
        cleaned[key] = plain if usable else _marked(clash, key)
    return cleaned


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how many characters are missing."""
    if len(text) <= limit:
        return text
    note = f" ... ({len(text)} characters)"
    return text[: limit - len(note)] + note


def dataset_digest(digest: str) -> str:
    """At most 36 characters; a longer digest is replaced by its own sha256, marked `s:`."""
    if len(digest) <= MAX_DIGEST_CHARACTERS:
        return digest
    return "s:" + hashlib.sha256(digest.encode()).hexdigest()[:32]


def registered_name(pipeline: str) -> str:
    """The registered model of a pipeline. `/` and `:` cannot stand in it: they become `-`, with a digest at the end."""
    name = re.sub(r"[/:]", "-", pipeline)
    return name if name == pipeline and name.strip(". ") else f"{name}-{_digest(pipeline)}"


def logged_model_name(text: str) -> str:
    """The text without the characters that MLflow refuses in the name of a logged model."""
    return re.sub(r"[/:.%\"']", "-", text) or "engine"


def experiment_name(pipeline: str) -> str:
    """The experiment of a pipeline."""
    return f"plaster/{pipeline}"


def quoted(text: str) -> str:
    """The text as a literal of MLflow's filter language, which has no escapes: the other quote is used."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    raise RecordRefused(f"{text!r} holds both kinds of quotes", "rename the pipeline")


def _marked(key: str, text: str) -> str:
    return f"{key[: MAX_KEY_CHARACTERS - 9].rstrip('/')}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
