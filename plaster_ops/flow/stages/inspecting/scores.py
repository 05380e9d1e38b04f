"""Which torchmetrics metric says how good an answer is: one that the module keeps itself, else the usual one for what
targets and outputs look like."""

import ast
import importlib
import inspect
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plaster_ops.flow.stages.inspecting.code import Value
from plaster_ops.flow.stages.inspecting.parts import Part, leaves

_OUT, _TO = "outputs", "targets"
_MANY_VALUES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A metric as text. `outputs` and `targets` are expressions of those two names that give what it is updated with;
    `target` is the part of the batch that holds the targets."""

    module: str
    name: str
    arguments: str
    outputs: str
    targets: str
    target: Part
    why: str
    value: float

    @property
    def plain(self) -> bool:
        """Whether the metric takes outputs and targets as they are."""
        return self.outputs == _OUT and self.targets == _TO


@dataclass(frozen=True, kw_only=True, slots=True)
class _Try:
    metric: Any
    outputs: str
    targets: str
    why: str
    arguments: str = ""


def choose_score(model: nn.Module, answers: Sequence[tuple[Any, Sequence[Part]]]) -> Score | None:
    """The first metric that takes some output with some target of every batch. `answers`: per batch what forward gave
    and the parts that may be targets, in the same order each time."""
    outputs, parts = answers[0]
    heads = [part.text for part in leaves(outputs, _OUT)]
    rows = int(parts[0].tensor.shape[0]) if parts and parts[0].tensor.dim() else -1
    for k, target in enumerate(parts):
        if target.tensor.dim() == 0 or int(target.tensor.shape[0]) != rows:
            continue
        for head in heads:
            pairs = [(_reach(out, head), found[k].tensor) for out, found in answers if len(found) > k]
            for attempt in (*_own(model, pairs, head), *_usual(pairs, head)):
                value = _value(attempt, [out for out, _ in answers], [found[k].tensor for out, found in answers])
                if value is not None:
                    return _score(attempt, target, value)
    return None


def given_score(given: Value, answers: Sequence[tuple[Any, Sequence[Part]]]) -> Score | None:
    """The metric that the user named, with the first target that it takes."""
    for k, target in enumerate(answers[0][1]):
        attempt = _Try(metric=given.value, outputs=_OUT, targets=_TO, why="as you said")
        value = _value(attempt, [out for out, _ in answers], [found[k].tensor for _, found in answers])
        if value is not None:
            return Score(
                module=",".join(given.imports), name=given.text, arguments="", outputs=_OUT, targets=_TO,
                target=target, why="as you said", value=value,
            )  # fmt: skip
    return None


def _score(attempt: _Try, target: Part, value: float) -> Score:
    kind = type(attempt.metric)
    return Score(
        module=_shortest_home(kind),
        name=kind.__name__,
        arguments=attempt.arguments,
        outputs=attempt.outputs,
        targets=attempt.targets,
        target=target,
        why=attempt.why,
        value=value,
    )


def _own(model: nn.Module, pairs: Sequence[tuple[Tensor, Tensor]], head: str) -> Iterator[_Try]:
    """Metrics that the module keeps: those of validation first, those of training last."""
    from torchmetrics import Metric

    found = [(name, m) for name, m in model.named_modules() if isinstance(m, Metric)]
    order = ("val", "test", "")
    ranked = sorted(found, key=lambda item: ("train" in item[0], next(k for k, w in enumerate(order) if w in item[0])))
    for name, metric in ranked:
        if not isinstance(getattr(metric, "higher_is_better", None), bool):
            continue
        arguments = _arguments_of(metric)
        if arguments is None:
            continue
        text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        for outputs, targets in _forms(pairs, head, type(metric).__name__):
            yield _Try(
                metric=type(metric)(**arguments), arguments=text, outputs=outputs, targets=targets,
                why=f"the module's own {name}",
            )  # fmt: skip


def _forms(pairs: Sequence[tuple[Tensor, Tensor]], head: str, name: str) -> list[tuple[str, str]]:
    """How outputs and targets may be handed over: as they are, then with shapes made equal."""
    out, target = pairs[0]
    if name.startswith("Binary") and _are_logits(pairs) and out.is_floating_point():
        head = f"{head}.sigmoid()"
    forms = [(head, _TO)]
    if out.dim() == target.dim() + 1 and out.shape[-1] == 1:
        forms.insert(0, (f"{head}.squeeze(-1)", _TO))
    if target.dim() == out.dim() + 1 and target.shape[-1] == 1:
        forms.insert(0, (head, f"{_TO}.squeeze(-1)"))
    if target.is_floating_point() and _are_whole(pairs):
        forms += [(outputs, f"{targets}.long()") for outputs, targets in forms]
    return forms


def _usual(pairs: Sequence[tuple[Tensor, Tensor]], head: str) -> Iterator[_Try]:
    """The usual metric of a task, by what targets and outputs look like."""
    out, target = pairs[0]
    if not out.is_floating_point() or out.dim() == 0 or out.shape[0] != target.shape[0]:
        return
    whole = _are_whole(pairs)
    if whole and not target.is_floating_point() and out.dim() == target.dim() + 1 and out.shape[1] > 1:
        yield from _classes(pairs, head)
    squeezed = out.dim() == target.dim() + 1 and out.shape[-1] == 1
    squeezed_target = target.dim() == out.dim() + 1 and target.shape[-1] == 1
    if not (squeezed or squeezed_target or out.shape == target.shape):
        return
    outputs = f"{head}.squeeze(-1)" if squeezed else head
    targets = f"{_TO}.squeeze(-1)" if squeezed_target else _TO
    if whole and _in_zero_one(pairs):
        yield from _zero_one(pairs, outputs, targets)
    yield from _numbers(pairs, outputs, targets)


def _classes(pairs: Sequence[tuple[Tensor, Tensor]], head: str) -> Iterator[_Try]:
    """One of several classes: a sample, or each pixel or token of it."""
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    out, target = pairs[0]
    classes = int(out.shape[1])
    negative = sorted({int(v) for _, t in pairs for v in t[t < 0].unique().tolist()})
    ignored: dict[str, Any] = {"ignore_index": negative[0]} if len(negative) == 1 else {}
    told = f", ignore_index={negative[0]}" if ignored else ""
    if target.dim() >= 3:
        yield _Try(
            metric=MulticlassJaccardIndex(classes, **ignored), arguments=f"{classes}{told}", outputs=head, targets=_TO,
            why=f"segmentation into {classes} classes: mean intersection over union",
        )  # fmt: skip
    yield _Try(
        metric=MulticlassAccuracy(classes, average="micro", **ignored), arguments=f'{classes}, average="micro"{told}',
        outputs=head, targets=_TO, why=f"one of {classes} classes",
    )  # fmt: skip


def _zero_one(pairs: Sequence[tuple[Tensor, Tensor]], outputs: str, targets: str) -> Iterator[_Try]:
    """Yes or no: once a sample, several times, or one of several as a row with a single one."""
    from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy, MultilabelAccuracy

    target = pairs[0][1]
    targets = f"{targets}.long()" if target.is_floating_point() or target.dtype is torch.bool else targets
    shown = f"{outputs}.sigmoid()" if _are_logits(pairs) else outputs
    which = "logits" if _are_logits(pairs) else "probabilities"
    labels = int(target.shape[1]) if target.dim() == 2 else 1
    if labels > 1 and all(bool((t.sum(1) == 1).all()) for _, t in pairs):
        yield _Try(
            metric=MulticlassAccuracy(labels, average="micro"), arguments=f'{labels}, average="micro"',
            outputs=outputs, targets=f"{targets}.argmax(1)", why=f"one of {labels} classes, one-hot",
        )  # fmt: skip
    elif labels > 1:
        yield _Try(
            metric=MultilabelAccuracy(labels), arguments=str(labels), outputs=shown, targets=targets,
            why=f"{labels} labels a sample; outputs are {which}",
        )  # fmt: skip
    yield _Try(metric=BinaryAccuracy(), outputs=shown, targets=targets, why=f"yes or no; outputs are {which}")


def _numbers(pairs: Sequence[tuple[Tensor, Tensor]], outputs: str, targets: str) -> Iterator[_Try]:
    """A number or several: R2 where there is a row or a column of them, else the squared error."""
    from torchmetrics import MeanSquaredError, R2Score

    if pairs[0][1].dim() <= 2:
        yield _Try(metric=R2Score(), outputs=outputs, targets=targets, why="regression: targets are numbers")
    yield _Try(metric=MeanSquaredError(), outputs=outputs, targets=targets, why="targets are numbers")


def _value(attempt: _Try, outputs: Sequence[Any], targets: Sequence[Tensor]) -> float | None:
    """The score over these batches; None where the metric does not take them or gives no finite number."""
    metric = attempt.metric
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            if not hasattr(metric, "update"):
                return float(metric(outputs[0], targets[0]))
            for out, target in zip(outputs, targets, strict=True):
                names = {_OUT: out, _TO: target}
                metric.update(eval(attempt.outputs, names), eval(attempt.targets, names))
            value = float(metric.compute())
            metric.reset()
    except Exception:
        return None
    return value if math.isfinite(value) else None


def _reach(outputs: Any, text: str) -> Tensor:
    found = eval(text, {_OUT: outputs})
    assert isinstance(found, Tensor)
    return found


def _are_logits(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    return any(bool((out < 0).any()) or bool((out > 1).any()) for out, _ in pairs)


def _are_whole(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    return all(not t.is_floating_point() or bool((t == t.round()).all()) for _, t in pairs)


def _in_zero_one(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    return all(t.dtype is torch.bool or bool(((t == 0) | (t == 1)).all()) for _, t in pairs)


def _arguments_of(metric: Any) -> Mapping[str, Any] | None:
    """What its constructor must be told to make it again: attributes of the same names that differ from the defaults.
    None where an argument without a default cannot be read back."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(metric).__init__).parameters.items():
        if name in ("self", "args", "kwargs", "validate_args"):
            continue
        value = getattr(metric, name, inspect.Parameter.empty)
        if value is inspect.Parameter.empty or not _is_literal(value):
            if parameter.default is inspect.Parameter.empty:
                return None
            continue
        if value != parameter.default:
            found[name] = value
    try:
        type(metric)(**found)
    except Exception:
        return None
    return found


def _is_literal(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False


def _shortest_home(kind: type) -> str:
    """The module to import a metric from: torchmetrics' public ones where it is there."""
    for home in ("torchmetrics.classification", "torchmetrics"):
        if getattr(importlib.import_module(home), kind.__name__, None) is kind:
            return home
    return kind.__module__
