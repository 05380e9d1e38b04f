"""FLOPs of operators that torch's counter has no formula for, by the usual counts; shapes in, a number out.

Linear algebra by its leading terms as in Golub and Van Loan, Matrix Computations; transforms by the 5 n log2(n) that
FFTW's benchmarks count for a complex one, half of it for a real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import sdpa_flop_count

Shape = Sequence[int]


def _attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    del out_shape
    return int(sdpa_flop_count(query, key, value))


def _inverse(matrix: Shape, *_: Any, **__: Any) -> int:
    return math.prod(matrix[:-2]) * 2 * matrix[-1] ** 3


def _factorised(matrix: Shape, *_: Any, **__: Any) -> int:
    return math.prod(matrix[:-2]) * 2 * matrix[-1] ** 3 // 3


def _cholesky(matrix: Shape, *_: Any, **__: Any) -> int:
    return math.prod(matrix[:-2]) * matrix[-1] ** 3 // 3


def _solved(matrix: Shape, right: Shape, *_: Any, **__: Any) -> int:
    columns = 1 if len(right) < len(matrix) else right[-1]
    return math.prod(matrix[:-2]) * (2 * matrix[-1] ** 3 // 3 + 2 * matrix[-1] ** 2 * columns)


def _substituted(matrix: Shape, right: Shape, *_: Any, **__: Any) -> int:
    return math.prod(matrix[:-2]) * matrix[-1] ** 2 * right[-1]


def _transform(values: Shape, axes: Shape, *_: Any, **__: Any) -> int:
    return int(5 * math.prod(values) * sum(math.log2(values[axis]) for axis in axes))


def _real_transform(values: Shape, axes: Shape, *_: Any, out_shape: Shape = (), **__: Any) -> int:
    larger = max(values, out_shape, key=math.prod)
    return _transform(larger, axes) // 2


def _times_vector(matrix: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(matrix)


def _added_to(_added: Shape, matrix: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(matrix)


def _bilinear(left: Shape, weight: Shape, _right: Shape, *_: Any, **__: Any) -> int:
    """left [n, i], weight [o, i, j], right [n, j]: the product with left, then with right."""
    outputs, ins, others = weight
    return 2 * left[0] * outputs * others * (ins + 1)


def _conv_over_time(values: Shape, weight: Shape, *_: Any, out_shape: Shape = (), **__: Any) -> int:
    """values [time, batch, i], weight [taps, i, o], out [time, batch, o]."""
    return 2 * math.prod(out_shape) * weight[0] * values[-1]


_aten = torch.ops.aten
FORMULAS: Mapping[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten.mv: _times_vector,
    _aten.dot: _times_vector,
    _aten.vdot: _times_vector,
    _aten.addmv: _added_to,
    _aten._trilinear: _bilinear,
    _aten.conv_tbc: _conv_over_time,
    _aten.linalg_inv_ex: _inverse,
    _aten.linalg_lu_factor_ex: _factorised,
    _aten.linalg_cholesky_ex: _cholesky,
    _aten._linalg_solve_ex: _solved,
    _aten.linalg_solve_triangular: _substituted,
    _aten._fft_c2c: _transform,
    _aten._fft_r2c: _real_transform,
    _aten._fft_c2r: _real_transform,
}
