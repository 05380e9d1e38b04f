"""Batches of the user's loaders: inputs apart from targets, loaders in a known order, digests of what was seen."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from plaster_ops.errors import DataError, PipelineError

_BATCH_FORMS = "(inputs, targets), (input, ..., target, ...), or a dict that holds the inputs by name"


def split_batch(batch: Any, example: Any, pipeline: Any = None) -> tuple[Any, Any]:
    """`(inputs, targets)` of one batch, `inputs` in the structure of `example` (what `sample_batch` returns).

    A pipeline with a member `split(batch)` decides itself. Raises `DataError` where the batch has no targets.
    """
    if pipeline is not None and hasattr(pipeline, "split"):
        inputs, targets = pipeline.split(batch)
        return inputs, targets
    if isinstance(batch, Mapping):
        return _split_mapping(batch, example)
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return _split_sequence(batch, example)
    raise DataError(f"a batch of type {type(batch).__name__} has no targets", f"loaders yield {_BATCH_FORMS}")


def _split_mapping(batch: Mapping[str, Any], example: Any) -> tuple[Any, Any]:
    if not isinstance(example, Mapping):
        raise DataError(
            f"batches are dicts ({', '.join(batch)}) but sample_batch returns {type(example).__name__}",
            "let sample_batch return a dict of the inputs, or give the pipeline split(batch)",
        )
    missing = [name for name in example if name not in batch]
    targets = {name: value for name, value in batch.items() if name not in example}
    if missing or not targets:
        what = f"lacks {', '.join(missing)}" if missing else "holds no targets"
        raise DataError(f"a batch with keys {', '.join(batch)} {what}", f"loaders yield {_BATCH_FORMS}")
    inputs = {name: batch[name] for name in example}
    return inputs, next(iter(targets.values())) if len(targets) == 1 else targets


def _split_sequence(batch: Sequence[Any], example: Any) -> tuple[Any, Any]:
    width = len(example) if isinstance(example, (tuple, list)) else 1
    nested = isinstance(batch[0], (tuple, list, Mapping)) if batch else False
    if len(batch) == 2 and (width == 1 or nested):
        inputs = batch[0]
        if (
            width == 1
            and nested
            and isinstance(inputs, (tuple, list))
            and len(inputs) == 1
            and isinstance(example, Tensor)
        ):
            inputs = inputs[0]
        return inputs, batch[1]
    if len(batch) > width:
        inputs = tuple(batch[:width]) if isinstance(example, (tuple, list)) else batch[0]
        targets = tuple(batch[width:])
        return inputs, targets[0] if len(targets) == 1 else targets
    raise DataError(
        f"a batch of {len(batch)} parts cannot hold {width} input{'s' if width > 1 else ''} and a target",
        f"loaders yield {_BATCH_FORMS}",
    )


def flat_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """The tensors of `inputs`, in the order in which forward receives them, detached on the CPU."""
    leaves = inputs.values() if isinstance(inputs, Mapping) else pytree.tree_leaves(inputs)
    tensors = tuple(leaves)
    if not tensors or not all(isinstance(leaf, Tensor) for leaf in tensors):
        kinds = ", ".join(type(leaf).__name__ for leaf in tensors) or "nothing"
        raise PipelineError(f"the inputs of the model are {kinds}, not tensors", "return tensors from sample_batch(n)")
    return tuple(leaf.detach().cpu() for leaf in tensors)


def rolling_loader(data: Any) -> Any:
    """The newest labelled data: the data module's test loader, or its validation loader where it has no test loader."""
    if hasattr(data, "prepare_data"):
        data.prepare_data()
    for stage, name in (("test", "test_dataloader"), ("validate", "val_dataloader")):
        if not _overrides(data, name):
            continue
        data.setup(stage)
        loader = getattr(data, name)()
        loader = loader[0] if isinstance(loader, (list, tuple)) and loader else loader
        if loader is not None and not (isinstance(loader, (list, tuple)) and not loader):
            return loader
    raise PipelineError(
        f"{type(data).__name__} has neither test_dataloader nor val_dataloader",
        "give the data module a test_dataloader: the newest labelled data, held out from training",
    )


def _overrides(data: Any, name: str) -> bool:
    """Whether a class of the user's (not Lightning's empty hook) defines the loader."""
    for owner in type(data).__mro__:
        if name in vars(owner):
            return not owner.__module__.startswith(("lightning.", "pytorch_lightning."))
    return False


def golden_loader(pipeline: Any) -> Any | None:
    """The frozen golden set as a loader; None where the pipeline has none. Zero rows is a `DataError`."""
    golden = getattr(pipeline, "golden", None)
    if golden is None:
        return None
    found = golden() if callable(golden) else golden
    if found is None:
        return None
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], (Tensor, tuple, list, dict)):
        found = [found]
    elif not isinstance(found, (DataLoader, list)):
        if len(found) == 0:
            raise _empty_golden()
        found = DataLoader(found, batch_size=64)
    if isinstance(found, list) and not found:
        raise _empty_golden()
    if isinstance(found, DataLoader) and hasattr(found.dataset, "__len__") and len(found.dataset) == 0:
        raise _empty_golden()
    return found


def _empty_golden() -> DataError:
    return DataError("the golden set has 0 rows", "let golden() return at least one labelled sample, or remove golden")


def batch_rows(inputs: Any) -> int:
    """Samples in a batch: the length of the first input's first axis."""
    return int(flat_inputs(inputs)[0].shape[0])


class SetDigest:
    """SHA-256 over all tensors of a labelled set, in order, with shapes and types; equal sets have equal digests."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.samples = 0

    def add(self, inputs: Any, targets: Any) -> None:
        """Takes one batch in."""
        self.samples += batch_rows(inputs)
        for leaf in (*pytree.tree_leaves(inputs), *pytree.tree_leaves(targets)):
            tensor = torch.as_tensor(leaf).detach().cpu().contiguous()
            self._hash.update(f"{tensor.dtype}{tuple(tensor.shape[1:])}".encode())
            self._hash.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")

    def hexdigest(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()


def labelled_batches(loader: Iterable[Any], example: Any, pipeline: Any) -> Iterator[tuple[Any, Any]]:
    """Every batch of a loader as `(inputs, targets)`."""
    for batch in loader:
        yield split_batch(batch, example, pipeline)
