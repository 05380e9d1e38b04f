# ruff: noqa: ARG002  (Lightning fixes the signatures of its hooks)
"""Partial fine-tuning: which parameters of a warm start train, the others staying as the champion had them.

Runs in workers only. Frozen modules are kept in eval mode: neither the running statistics of their batch norms nor
their dropout may change what the trained parts see.
"""

import difflib
import fnmatch
from collections.abc import Sequence
from typing import Any

from plaster_ops.errors import UsageError

_NEAREST = 3


def tune_only(model: Any, patterns: Sequence[str]) -> float | None:
    """Leaves only parameters that train whose names match a pattern (fnmatch); returns `trained_share`.

    Raises `UsageError` for a pattern that matches nothing, naming the nearest parameters.
    """
    parameters = dict(model.named_parameters())
    chosen: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(parameters, pattern)
        if not found:
            raise _matches_nothing(pattern, list(parameters))
        chosen.update(found)
    for name, parameter in parameters.items():
        if name not in chosen:
            parameter.requires_grad_(False)
    return trained_share(model)


def trained_share(model: Any) -> float | None:
    """Numbers of the model that train / all its numbers; None for a model without parameters, or not yet shaped."""
    try:
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    except ValueError:  # a lazy layer has no shape before its first batch
        return None
    total = sum(size for size, _ in sizes)
    return sum(size for size, trains in sizes if trains) / total if total else None


def frozen_modules(model: Any) -> list[Any]:
    """The modules that have parameters, their children's included, none of which trains; outermost only."""
    found: list[Any] = []

    def look(module: Any) -> None:
        trains = [parameter.requires_grad for parameter in module.parameters()]
        if trains and not any(trains):
            found.append(module)
            return
        for child in module.children():
            look(child)

    look(model)
    return found


class FrozenStay:
    """Keeps frozen modules in eval mode; see `callbacks.bind`."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the first batch."""
        self._hold(pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The user's own hooks may have turned the whole model to training."""
        self._hold(pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A validation in the middle of an epoch ends with a model in training mode."""
        if self._modules and any(module.training for module in self._modules):
            self._hold(pl_module)

    def _hold(self, pl_module: Any) -> None:
        self._modules = frozen_modules(pl_module)
        for module in self._modules:
            module.eval()


def _matches_nothing(pattern: str, names: list[str]) -> UsageError:
    plain = pattern.strip("*").strip(".")
    near = difflib.get_close_matches(plain, names, n=_NEAREST, cutoff=0.0)
    rest = len(names) - len(near)
    more = f" and {rest} more" if rest else ""
    return UsageError(
        f"train.tune names {pattern!r}, which matches no parameter of the model",
        f"the nearest are {', '.join(near)}{more}" if near else "the model has no parameters",
    )
