"""What an inspection of the data found, as sentences for people and as figures for the card."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import metrics as m

_SHRUNK = 0.5
_FIRST = "no earlier run kept a sketch of its data"


def notes(told: Mapping[str, Any]) -> list[str]:
    """What stands out, a sentence each; nothing where all is as it was."""
    found = []
    if told["left_out"]:
        found.append(f"{told['left_out']} of {told['left_out'] + told['features']} input features are not looked at")
    last = told["against"].get("last")
    if last is not None and not last["reason"]:
        found += _since(f"#{last['index']}", last)
    unseen, outside = told["training"]["unseen"], told["training"]["outside"]
    if unseen:
        looked = told["training"]["samples_looked_at"]
        found.append(f"labels of the rolling set in none of {looked} training samples: {_listed(unseen)}")
    if told["training"]["evaluated"]:
        looked, doubled = told["training"]["samples_looked_at"], told["training"]["evaluated"]
        found.append(f"{doubled} of {looked} training samples are in the rolling or the golden set, too")
    if outside and outside["labels"]:
        found.append(f"labels outside the {outside['classes']} classes of the score: {_listed(outside['labels'])}")
    for name, counts in told["missing"]["inputs"].items():
        found.append(f"{name} of the rolling set holds {counts['nan']} NaN and {counts['infinite']} infinite values")
    return found


def _since(run: str, last: Mapping[str, Any]) -> list[str]:
    found, schema = [], last["schema"]
    if last["drifted"]:
        worst = next(each for each in last["worst"] if each["drifted"])
        told = f"{last['drifted']} of {last['tested']} features, worst {worst['feature']} {_distance(worst)}"
        found.append(f"inputs drifted since {run}: {told}")
    found += [f"{name} has values that {run} did not see: {_listed(new)}" for name, new in last["new"].items()]
    labels = last["labels"]
    if labels["drifted"]:
        found.append(f"labels shifted since {run}: {labels['worst'][0]['feature']} {_distance(labels['worst'][0])}")
    changed = [f"{word} {_listed(schema[word])}" for word in ("new", "gone", "retyped") if schema[word]]
    if changed:
        found.append(f"inputs are others than in {run}: {'; '.join(changed)}")
    if last["samples_ratio"] is not None and last["samples_ratio"] < _SHRUNK:
        found.append(f"the rolling set has {last['samples']} samples, {run} had {last['samples_then']}")
    return found


def figures(told: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metric key -> value, n and reason, for `plaster.inputs.input_rows`."""
    last, training = told["against"].get("last"), told["training"]
    reason = _FIRST if last is None else last["reason"]
    there = None if reason else last
    labels = there["labels"] if there else {}
    return {
        m.INPUT_DRIFT_RATIO.key: _share(there, reason, f"against #{there['index']}" if there else ""),
        m.INPUT_DISTANCE_MAX_RATIO.key: _largest(there, reason),
        m.TRAIN_GAP_RATIO.key: _share(
            None if training["reason"] else training, training["reason"], f"{training['samples_looked_at']} samples"
        ),
        m.LABEL_SHIFT_RATIO.key: _largest(labels, reason),
        m.UNSEEN_LABELS_COUNT.key: _unseen(training),
        m.MISSING_VALUES_RATIO.key: {
            "value": told["missing"]["ratio"],
            "n": told["missing"]["values"],
            "reason": None if told["missing"]["values"] else "the inputs hold no values",
        },
    }


def _share(found: Mapping[str, Any] | None, reason: str, whence: str) -> dict[str, Any]:
    if not found or found["share"] is None:
        return {"value": None, "reason": reason or "no feature could be tested"}
    worst = found["worst"][0]
    told = f"{whence}; worst {worst['feature']} {_distance(worst)}"
    return {"value": found["share"], "n": found["tested"], "reason": told}


def _largest(found: Mapping[str, Any] | None, reason: str) -> dict[str, Any]:
    if not found or found["distance"] is None:
        return {"value": None, "reason": reason or "nothing could be tested"}
    worst = found["worst"][0]
    told = f"{worst['feature']}, adjusted p {worst['p_adjusted']:.2g}"
    return {"value": found["distance"], "n": found["tested"], "reason": told}


def _unseen(training: Mapping[str, Any]) -> dict[str, Any]:
    unseen, looked = training["unseen"], training["samples_looked_at"]
    if unseen is None:
        return {"value": None, "reason": training["reason"]}
    return {"value": len(unseen), "n": looked, "reason": _listed(unseen) if unseen else None}


def _distance(worst: Mapping[str, Any]) -> str:
    return f"{'D' if worst['kind'] == 'number' else 'total variation'} {worst['distance']:.2f}"


def _listed(words: Sequence[str], most: int = 5) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
