"""The formulas against counts by hand, through the counter that uses them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from plaster_ops.engines.facts import flops_of_nodes
from plaster_ops.engines.flop_formulas import FORMULAS
from tests.engines.conftest import export_model


def square(*shape: int) -> Tensor:
    return torch.rand(*shape) + 9 * torch.eye(shape[-1])


@pytest.mark.parametrize(
    ("call", "flops"),
    [
        (lambda: torch.linalg.inv(square(3, 4, 4)), 3 * 2 * 64),
        (lambda: torch.linalg.lu_factor(square(6, 6)), 2 * 216 // 3),
        (lambda: torch.linalg.cholesky(square(2, 6, 6) @ square(2, 6, 6).mT), 2 * 216 // 3 + 2 * 2 * 216),
        (lambda: torch.linalg.solve(square(6, 6), torch.rand(6, 2)), 144 + 2 * 36 * 2),
        (lambda: torch.linalg.solve(square(5, 6, 6), torch.rand(5, 6)), 5 * (144 + 2 * 36)),
        (lambda: torch.linalg.solve_triangular(square(6, 6).triu(), torch.rand(6, 2), upper=True), 36 * 2),
        (lambda: torch.rand(3, 4, 5) @ torch.rand(5), 2 * 3 * 4 * 5),
        (lambda: torch.rand(7) @ torch.rand(7), 2 * 7),
        (lambda: torch.vdot(torch.rand(7), torch.rand(7)), 2 * 7),
        (lambda: torch.addmv(torch.rand(4), torch.rand(4, 5), torch.rand(5)), 2 * 4 * 5),
        (
            lambda: torch.nn.functional.bilinear(torch.rand(2, 5), torch.rand(2, 6), torch.rand(7, 5, 6)),
            2 * 2 * 7 * 6 * (5 + 1),
        ),
        (lambda: torch.conv_tbc(torch.rand(9, 2, 4), torch.rand(3, 4, 5), torch.rand(5)), 2 * 7 * 2 * 5 * 3 * 4),
        (lambda: torch.fft.fft(torch.rand(3, 8).to(torch.complex64)), 5 * 3 * 8 * 3),
        (lambda: torch.fft.rfft(torch.rand(3, 8)), 5 * 3 * 8 * 3 // 2),
        (lambda: torch.fft.irfft(torch.rand(3, 5).to(torch.complex64), n=8), 5 * 3 * 8 * 3 // 2),
        (lambda: torch.fft.fft2(torch.rand(8, 4).to(torch.complex64)), 5 * 32 * (3 + 2)),
    ],
)
def test_an_operator_counts_what_it_is_known_to_cost(call: Callable[[], Any], flops: int) -> None:
    with FlopCounterMode(display=False, custom_mapping=dict(FORMULAS)) as counter:
        call()
    assert counter.get_total_flops() == flops


def test_an_inverse_in_a_model_is_counted_with_the_products() -> None:
    found = flops_of_nodes(export_model("inverse").program)
    assert sorted(found.values()) == [2 * 16 * 10, 2 * 16**3, 2 * 16 * 16 * 16 * 3 * 9]
