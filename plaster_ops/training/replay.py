"""Going on inside an epoch: the same batches in the same order, without those that were trained already.

Which fits can, and how the epoch's iterator is made again as it was. Runs in workers only.
"""

from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from plaster_ops.training.rank_state import EpochStart, loaders_of
from plaster_ops.training.rng import capture, generators_of, put_back


def why_not_inside(trainer: Any) -> str:
    """Why a checkpoint inside an epoch could not be continued exactly; empty where it can."""
    loaders, mode = loaders_of(trainer), getattr(trainer.fit_loop._combined_loader, "_mode", "")
    if not trainer.lightning_module.automatic_optimization:
        return "the model optimises by hand and may hold gradients between steps"
    if type(trainer.fit_loop._data_fetcher).__name__ == "_DataLoaderIterDataFetcher":
        return "training_step takes the iterator of the data itself"
    if any(not (_is_stateful(loader) or isinstance(loader, DataLoader)) for loader in loaders):
        return "a loader is neither a torch DataLoader nor keeps a state"
    if any(isinstance(loader.dataset, IterableDataset) and not _is_stateful(loader) for loader in loaders):
        return "the order of an iterable dataset without a state cannot be had again"
    if len(loaders) > 1 and mode not in ("min_size", "max_size"):
        return "several loaders are repeated within an epoch"
    return ""


def mark(trainer: Any) -> dict[str, Any]:
    """The generators of this moment, those of the loaders included."""
    return capture(trainer.strategy.root_device, generators_of(loaders_of(trainer)))


def return_to(trainer: Any, state: dict[str, Any]) -> None:
    """The generators of that moment, those of the loaders included."""
    put_back(state, trainer.strategy.root_device, generators_of(loaders_of(trainer)))


def make_again(trainer: Any, fetcher: Any, start: EpochStart, batches: int) -> None:
    """The iterator of the epoch that began as `start` tells, with its first `batches` batches taken out."""
    loaders = loaders_of(trainer)
    if all(_is_stateful(loader) for loader in loaders):
        return
    if trainer.current_epoch == 0:
        for loader in loaders:
            loader._iterator = None  # one that is kept for all epochs drew its seed when the first began
    if start.before_iterator is not None:
        return_to(trainer, start.before_iterator)
    iter(fetcher)
    if start.before_batch is not None:
        return_to(trainer, start.before_batch)
    for _ in range(batches):
        next(fetcher)


def _is_stateful(loader: Any) -> bool:
    return callable(getattr(loader, "state_dict", None)) and callable(getattr(loader, "load_state_dict", None))
