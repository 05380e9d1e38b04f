"""A model's weights as a safetensors file: written without pickle, read strictly. Runs in workers only.

Tensors that share memory (tied weights) are written once under each of their names, so that the file holds exactly
the names of `state_dict()` and a plain strict `load_state_dict` reads it everywhere.
"""

from pathlib import Path
from typing import Any

from plaster_ops.errors import Postponed, TrainingFailed, WeightsDiffer
from plaster_ops.training.resume import digest_of


def save_weights(model: Any, path: Path) -> str:
    """Writes the model's `state_dict` to `path`, whole or not at all; returns its SHA-256.

    Raises `TrainingFailed` where an entry is no tensor, or holds NaN or infinity; `Postponed` where the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = plain_state(model)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        save_file(plain, str(temporary))
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise Postponed(f"the trained weights could not be written: {error}", f"make room for {path}") from error
    return digest_of(path)


def plain_state(model: Any) -> dict[str, Any]:
    """The model's `state_dict` as tensors of their own on the CPU. Raises `TrainingFailed` as `save_weights` does."""
    import torch

    state = model.state_dict()
    strangers = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise TrainingFailed(
            f"the model's state_dict holds what is no tensor: {_some(strangers)}",
            "keep such values out of the state_dict (get_extra_state)",
        )
    spoilt = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if spoilt:
        raise TrainingFailed(
            f"the trained weights are not finite: {_some(spoilt)}", "lower the learning rate, or clip gradients"
        )
    return {name: value.detach().to("cpu").clone().contiguous() for name, value in state.items()}


def load_weights(model: Any, path: Path) -> None:
    """Fills the model from `path`. Raises `WeightsDiffer` naming tensors that are missing, new or of another shape.

    `TrainingFailed` where the file cannot be read.
    """
    from safetensors.torch import load_file

    try:
        stored = load_file(str(path))
    except Exception as error:
        raise TrainingFailed(
            f"weights {path} cannot be read: {type(error).__name__}: {error}", "retrain with --scratch"
        ) from error
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in stored.items()}
    faults = [f"{name} (missing)" for name in wanted if name not in found]
    faults += [f"{name} (unknown to the model)" for name in found if name not in wanted]
    faults += [
        f"{name} (stored {list(found[name])}, model {list(shape)})"
        for name, shape in wanted.items()
        if found.get(name, shape) != shape
    ]
    if faults:
        raise WeightsDiffer(
            f"the model has changed, the champion's weights do not fit: {_some(faults)}",
            'retrain with --scratch, or set start = "auto"',
        )
    model.load_state_dict(stored, strict=True)


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
