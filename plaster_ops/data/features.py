"""What a batch is made of, as columns of numbers: the view of inputs and labels that drift and missing values are told
in. Bounded in rows and in features, whatever the set is. Knows nothing of earlier runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

MOST_ROWS, MOST_FEATURES, WIDEST = 8192, 256, 256
_SUMMARY = ("mean", "sd", "min", "max")


class EvenRows:
    """Of rows that stream by at least half of `most`, spread evenly over all of them: every row while they are few,
    then every second, every fourth and so on. The same rows give the same ones, however they are cut into batches."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._stride, self._seen, self._kept = 1, 0, 0
        self._parts: list[NDArray[Any]] = []

    def add(self, rows: Any, plain: Callable[[Any], NDArray[Any]] = np.asarray) -> None:
        """Rows [b, ...], all of one width; only those that are kept go through `plain`."""
        part = plain(rows[-self._seen % self._stride :: self._stride])
        self._seen += len(rows)
        self._parts.append(part)
        self._kept += len(part)
        while self._kept > self._most:
            self._parts = [np.concatenate(self._parts)[::2]]
            self._stride, self._kept = 2 * self._stride, len(self._parts[0])

    def rows(self) -> NDArray[Any]:
        """Those that are kept, in order."""
        return np.concatenate(self._parts) if self._parts else np.empty((0,))


class _Leaf:
    """One tensor of the batch: its columns while it is narrow and of one width, and always what sums a sample up."""

    def __init__(self, name: str, most: int) -> None:
        self.name, self.type = name, ""
        self.values = self.nans = self.infinite = 0
        self._most, self._width = most, -1
        self._columns: EvenRows | None = EvenRows(most)
        self._summaries, self._lengths = EvenRows(most), EvenRows(most)
        self._is_scalar = True

    def add(self, tensor: Tensor) -> None:
        self.type = str(tensor.dtype).removeprefix("torch.")
        tensor = tensor.detach().cpu()
        flat = tensor.reshape(tensor.shape[0], -1 if tensor.numel() else 0)
        self.values += flat.numel()
        if (flat.is_floating_point() or flat.is_complex()) and not _is_finite(flat):
            self.nans += int(torch.isnan(flat).sum())
            self.infinite += int(torch.isinf(flat).sum())
        self._is_scalar &= tensor.dim() <= 1
        self._add_columns(flat, narrow=tensor.dim() <= 2 and flat.shape[1] <= WIDEST)
        if self._columns is None or not self._is_scalar:
            self._summaries.add(flat, _summaries)
            self._lengths.add(np.full(len(flat), flat.shape[1]))

    def _add_columns(self, flat: Tensor, *, narrow: bool) -> None:
        if self._columns is None:
            return
        if narrow and self._width in (-1, flat.shape[1]):
            self._width = flat.shape[1]
            self._columns.add(flat, _plain)
        else:
            self._columns = None

    def features(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """`(name, its values)`."""
        if self._columns is not None:
            rows = self._columns.rows()
            for column in range(max(0, self._width)):
                yield (self.name if self._is_scalar else f"{self.name}[{column}]"), rows[:, column]
            return
        rows = self._summaries.rows()
        for column, what in enumerate(_SUMMARY):
            yield f"{self.name} {what}", rows[:, column]
        lengths = self._lengths.rows()
        if len(set(lengths.tolist())) > 1:
            yield f"{self.name} size", lengths


class FeatureRows:
    """Batches of tensors as named features.

    A tensor [b] or [b, w], w up to 256, gives its columns: `name`, `name[0]`, `name[1]`, ...; any other, or one whose
    width varies, gives the mean, standard deviation, smallest and largest value of each sample, and its size where that
    varies. The first 256 features are kept, of at most 8,192 rows spread evenly over the set.
    """

    def __init__(self, most_rows: int = MOST_ROWS, most_features: int = MOST_FEATURES) -> None:
        self._most_rows, self._most_features = most_rows, most_features
        self._leaves: dict[str, _Leaf] = {}
        self.samples = 0

    def add(self, leaves: Mapping[str, Tensor]) -> None:
        """One batch: name -> tensor [b, ...]."""
        self.samples += int(next(iter(leaves.values())).shape[0]) if leaves else 0
        for name, tensor in leaves.items():
            self._leaves.setdefault(name, _Leaf(name, self._most_rows)).add(tensor)

    def features(self) -> dict[str, NDArray[Any]]:
        """Name -> values [rows]."""
        return dict(list(self._all())[: self._most_features])

    @property
    def left_out(self) -> int:
        """Features past the bound."""
        return max(0, sum(1 for _ in self._all()) - self._most_features)

    def types(self) -> dict[str, str]:
        """Tensor -> its type."""
        return {name: leaf.type for name, leaf in self._leaves.items()}

    def missing(self) -> dict[str, tuple[int, int, int]]:
        """Tensor -> (values, NaN among them, infinite ones), over every row."""
        return {name: (leaf.values, leaf.nans, leaf.infinite) for name, leaf in self._leaves.items()}

    def _all(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for leaf in self._leaves.values():
            yield from leaf.features()


def named_inputs(leaves: Sequence[Tensor], example: Any) -> dict[str, Tensor]:
    """Flat inputs by the names of the example's keys, else `in0`, `in1`, ..."""
    names = list(example) if isinstance(example, Mapping) else [f"in{k}" for k in range(len(leaves))]
    return dict(zip(names, leaves, strict=True))


def named_targets(targets: Any) -> dict[str, Tensor]:
    """The tensors of a batch's targets: `label`, or `label 0`, `label 1`, ..., or `label` and a dict's key."""
    if isinstance(targets, Mapping):
        found = {f"label {key}": value for key, value in targets.items()}
    else:
        leaves = pytree.tree_leaves(targets)
        found = {"label" if len(leaves) == 1 else f"label {k}": leaf for k, leaf in enumerate(leaves)}
    return {name: leaf.detach().cpu() for name, leaf in found.items() if isinstance(leaf, Tensor) and leaf.dim()}


def _is_finite(flat: Tensor) -> bool:
    """Whether a sum, which is cheap, shows that no value is NaN or infinite; False also where it cannot tell."""
    wide = torch.complex128 if flat.is_complex() else torch.float64
    return bool(torch.isfinite(flat.sum(dtype=wide)))


def _plain(flat: Tensor) -> NDArray[Any]:
    """float64 or int64, of the same shape."""
    flat = flat.abs() if flat.is_complex() else flat
    plain: NDArray[Any] = flat.to(torch.float64 if flat.is_floating_point() else torch.int64).numpy()
    return plain


def _summaries(flat: Tensor) -> NDArray[Any]:
    """Per sample mean, standard deviation, smallest and largest value; NaN where the sample has one or no values."""
    if not flat.shape[1]:
        return np.full((len(flat), len(_SUMMARY)), np.nan)
    values = _plain(flat)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.stack([values.mean(1), values.std(1), values.min(1), values.max(1)], axis=1)
