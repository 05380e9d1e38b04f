"""What one rank has that Lightning's checkpoint, made by rank 0, does not hold: its generators, the start of its
present epoch, what its metrics have gathered of it, and which parts train. Runs in workers only."""

from dataclasses import dataclass
from typing import Any

import torch

from plaster_ops.training.rng import RngState, capture, generators_of


@dataclass(slots=True)
class EpochStart:
    """Generators before the epoch's iterator was made, and before its first batch was asked for."""

    before_iterator: RngState | None = None
    before_batch: RngState | None = None


def collect(trainer: Any, start: EpochStart, counted: int) -> dict[str, Any]:
    """This rank's state, plain and on the CPU. `counted`: samples of the present epoch that are in the sums already."""
    return {
        "now": capture(trainer.strategy.root_device, generators_of(loaders_of(trainer))),
        "before_iterator": start.before_iterator,
        "before_batch": start.before_batch,
        "counted": counted,
        "metrics": _metrics(trainer.lightning_module),
        "trains": _trains(trainer.lightning_module),
        "means": _means(trainer.fit_loop.epoch_loop._results),
        "logged": {name: _plain(value) for name, value in trainer.callback_metrics.items()},
    }


def gather(trainer: Any, mine: dict[str, Any]) -> list[dict[str, Any]]:
    """The states of all ranks on rank 0, an empty list on the others; a collective call."""
    if trainer.world_size == 1:
        return [mine]
    into: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(mine, into, dst=0)
    return into or []


def put_back_trains(trainer: Any, state: dict[str, Any]) -> None:
    """What was frozen or thawed on the way is so again; no `state_dict` holds it."""
    parameters, modules = state["trains"]
    for name, parameter in trainer.lightning_module.named_parameters():
        parameter.requires_grad_(parameters.get(name, parameter.requires_grad))
    for name, module in trainer.lightning_module.named_modules():
        for flag, value in modules.get(name, {}).items():
            setattr(module, flag, value)


def put_back_metrics(trainer: Any, state: dict[str, Any]) -> None:
    """Metrics of the module go on from what they had gathered, and what was logged last is there again."""
    device = trainer.strategy.root_device
    named = dict(trainer.lightning_module.named_modules())
    for name, (updates, values) in state["metrics"].items():
        metric = named.get(name)
        if metric is None:
            continue
        for key, value in values.items():
            setattr(metric, key, _moved(value, device))
        metric._update_count = updates
        metric._computed = None
    trainer._logger_connector._callback_metrics.update(
        {name: _moved(value, device) for name, value in state["logged"].items()}
    )


def add_means(trainer: Any, means: dict[str, Any]) -> dict[str, Any]:
    """Adds what was logged in the part of the epoch before the checkpoint; returns what has no place yet."""
    results = trainer.fit_loop.epoch_loop._results
    device = trainer.strategy.root_device
    for name in [name for name in means if name in results]:
        value, samples = (_moved(part, device) for part in means.pop(name))
        metric = results[name]
        if metric.meta.is_max_reduction or metric.meta.is_min_reduction:
            metric.value = metric.meta.reduce_fx(value, metric.value)
        else:
            metric.value = value + metric.value
        if samples is not None:
            metric.cumulated_batch_size = samples + metric.cumulated_batch_size
    return means


def loaders_of(trainer: Any) -> list[Any]:
    """The training loaders as Lightning uses them; empty before they are made."""
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else list(combined.flattened)


def _metrics(module: Any) -> dict[str, Any]:
    """Name to number of updates and states, of every torchmetrics metric in the module that has gathered something."""
    return {
        name: (metric._update_count, {key: _plain(getattr(metric, key)) for key in metric._defaults})
        for name, metric in module.named_modules()
        if hasattr(metric, "_defaults") and bool(getattr(metric, "_update_count", False))
    }


def _trains(module: Any) -> tuple[dict[str, bool], dict[str, dict[str, bool]]]:
    """By name which parameters train, and the flags of modules that say how."""
    flags = ("training", "track_running_stats")
    parameters = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    return parameters, {
        name: {flag: bool(getattr(part, flag)) for flag in flags if hasattr(part, flag)}
        for name, part in module.named_modules()
    }


def _means(results: Any) -> dict[str, Any]:
    return {
        name: (_plain(result.value), _plain(getattr(result, "cumulated_batch_size", None)))
        for name, result in results.items()
        if result.is_tensor and result.meta.on_epoch
    }


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [_moved(part, device) for part in value] if isinstance(value, list) else value
