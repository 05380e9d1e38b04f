"""`pytorch_lightning` or `lightning.pytorch`: whichever the user's model comes from, and a Trainer of it.

The two hold the same classes twice; a model of one is a stranger to the Trainer of the other.
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from plaster_ops.errors import PipelineError, UsageError
from plaster_ops.training.messages import FitSpec

_FABRIC_OF = {"lightning.pytorch": "lightning.fabric", "pytorch_lightning": "lightning_fabric"}
_OURS = {
    "accelerator": "train.accelerator",
    "devices": "train.devices",
    "num_nodes": "train.nodes",
    "max_epochs": "train.max_epochs",
    "callbacks": "the model's configure_callbacks()",
    "logger": "nothing: curves go to MLflow by themselves",
    "plugins": "nothing: they cannot be written as text",
    "profiler": "nothing: it changes what is timed",
    "default_root_dir": "nothing: each attempt has its own folder",
    "enable_checkpointing": "nothing: resuming needs it",
    "enable_progress_bar": "nothing: progress is shown by plaster-ops",
    "enable_model_summary": "nothing: it would go to a log",
    "barebones": "nothing: resuming needs checkpoints",
    "fast_dev_run": "trainer.limit_train_batches",
}
_REFUSED = ("fsdp", "deepspeed", "model_parallel", "spawn", "fork", "notebook")


def package_of(model: Any) -> Any:
    """The Lightning package that the model's class is made with. Raises `PipelineError` for no LightningModule."""
    for kind in type(model).__mro__:
        for name in _FABRIC_OF:
            if kind.__module__.startswith(f"{name}."):
                package = importlib.import_module(name)
                if isinstance(model, package.LightningModule):
                    return package
    raise PipelineError(
        f"model() returned a {type(model).__module__}.{type(model).__qualname__}, which is no LightningModule",
        "derive it from pytorch_lightning.LightningModule or lightning.LightningModule",
    )


def require_data_module(data: Any, package: Any) -> None:
    """Raises `PipelineError` where `data` is no LightningDataModule of the model's own package."""
    if isinstance(data, package.LightningDataModule):
        return
    raise PipelineError(
        f"data(window) returned a {type(data).__module__}.{type(data).__qualname__}, "
        f"which is no {package.__name__}.LightningDataModule",
        f"derive it from {package.__name__}.LightningDataModule, the package that the model comes from",
    )


def make_trainer(package: Any, spec: FitSpec, callbacks: Sequence[Any], folder: Path) -> Any:
    """A Trainer for one rank of `spec.devices`, which are started by us and not by Lightning.

    `spec.trainer` is passed through. Raises `UsageError` for an option that is ours, unknown or refused.
    """
    _require_allowed(package, spec.trainer)
    options = {"num_sanity_val_steps": 0, "strategy": _strategy(package, spec), **_limit(spec), **spec.trainer}
    _require_gpus_for_sync(spec)
    try:
        return package.Trainer(
            accelerator=spec.accelerator,
            devices=spec.devices,
            num_nodes=spec.nodes,
            max_epochs=spec.max_epochs,
            callbacks=list(callbacks),
            plugins=[_environment(package)],
            logger=False,
            default_root_dir=str(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except (TypeError, ValueError, package.utilities.exceptions.MisconfigurationException) as error:
        raise UsageError(
            f"Lightning refuses train.trainer = {dict(spec.trainer)}: {error}", "see Lightning's Trainer options"
        ) from error


def _limit(spec: FitSpec) -> dict[str, Any]:
    """Lightning's own timer ends a fit with its weights; over a resumed fit it counts on."""
    return {} if spec.max_s is None else {"max_time": timedelta(seconds=spec.max_s)}


def _environment(package: Any) -> Any:
    """Our RANK and MASTER_PORT, said outright: under SLURM or torchrun Lightning would guess another one."""
    environments = importlib.import_module(f"{_FABRIC_OF[package.__name__]}.plugins.environments")
    return environments.LightningEnvironment()


def _strategy(package: Any, spec: FitSpec) -> Any:
    if spec.devices == 1 and spec.nodes == 1:
        return "auto"
    backend = "nccl" if spec.accelerator == "gpu" else "gloo"
    return package.strategies.DDPStrategy(process_group_backend=backend, find_unused_parameters=False)


def _require_gpus_for_sync(spec: FitSpec) -> None:
    """torch's SyncBatchNorm refuses tensors of a CPU, at the first step of a model that has such a layer."""
    several = isinstance(spec.devices, int) and spec.devices * spec.nodes > 1
    if spec.trainer.get("sync_batchnorm") and several and spec.accelerator == "cpu":
        raise UsageError(
            "train.trainer.sync_batchnorm = true needs GPUs, and the ranks run on the CPU",
            "leave it out here: each rank then normalises by its own part of the batch",
        )


def _require_allowed(package: Any, options: Mapping[str, Any]) -> None:
    known = set(inspect.signature(package.Trainer.__init__).parameters) - {"self"}
    for name in options:
        if name in _OURS:
            raise UsageError(f"train.trainer sets {name!r}, which plaster-ops sets", f"use instead: {_OURS[name]}")
        if name not in known:
            raise UsageError(
                f"train.trainer sets {name!r}, which Lightning's Trainer does not know",
                f"it knows: {', '.join(sorted(known - set(_OURS)))}",
            )
    strategy = str(options.get("strategy", ""))
    if any(word in strategy for word in _REFUSED):
        raise UsageError(
            f"train.trainer.strategy = {strategy!r} is not supported",
            "use ddp or ddp_find_unused_parameters_true; plaster-ops starts the processes itself",
        )
