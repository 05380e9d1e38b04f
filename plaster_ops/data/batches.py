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
    inputs = _named_inputs(batch, example)
    targets = {name: value for name, value in batch.items() if name not in example}
    if not targets:
        raise DataError(f"a batch with keys {', '.join(batch)} holds no targets", f"loaders yield {_BATCH_FORMS}")
    return inputs, next(iter(targets.values())) if len(targets) == 1 else targets


def _named_inputs(batch: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of `example` out of `batch`, in the example's order."""
    missing = [name for name in example if name not in batch]
    if missing:
        lacks = f"a batch with keys {', '.join(batch)} lacks {', '.join(missing)}"
        raise DataError(lacks, f"loaders yield {_BATCH_FORMS}")
    return {name: batch[name] for name in example}


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
        if isinstance(inputs, Mapping) and isinstance(example, Mapping):
            inputs = _named_inputs(inputs, example)
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
        if not overrides(data, name):
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


def overrides(data: Any, name: str) -> bool:
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
        if not hasattr(found, "__len__"):
            raise DataError(
                f"golden() returned {type(found).__name__}, which has no length",
                "return a dataset, a DataLoader, or (inputs, targets)",
            )
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
    """SHA-256 over all tensors of a labelled set, in order, with shapes and types.

    Equal sets have equal digests, however they are cut into batches: each input and each target is a column of its
    own, whose shape and type go in where they change.
    """

    def __init__(self) -> None:
        self._columns: list[Any] = []
        self._forms: list[str] = []
        self.samples = 0

    def add(self, inputs: Any, targets: Any) -> None:
        """Takes one batch in."""
        self.samples += batch_rows(inputs)
        for position, leaf in enumerate((*pytree.tree_leaves(inputs), *pytree.tree_leaves(targets))):
            if position == len(self._columns):
                self._columns.append(hashlib.sha256())
                self._forms.append("")
            self._add_to_column(position, torch.as_tensor(leaf).detach().cpu())

    def _add_to_column(self, position: int, tensor: Tensor) -> None:
        form = f"{tensor.dtype}{tuple(tensor.shape[1:])}"
        if form != self._forms[position]:
            self._columns[position].update(form.encode())
            self._forms[position] = form
        if tensor.numel():
            self._columns[position].update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())

    def hexdigest(self) -> str:
        """The digest so far."""
        return hashlib.sha256(" ".join(column.hexdigest() for column in self._columns).encode()).hexdigest()


def labelled_batches(loader: Iterable[Any], example: Any, pipeline: Any) -> Iterator[tuple[Any, Any]]:
    """Every batch of a loader as `(inputs, targets)`."""
    for batch in loader:
        yield split_batch(batch, example, pipeline)
