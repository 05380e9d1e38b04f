"""Real inputs as queries."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from plaster_ops.errors import DataError
from plaster_ops.plaster import load
from plaster_ops.plaster.load import Samples, group_inputs, load_samples


def numbered(count: int, *shape: int, start: int = 0) -> torch.Tensor:
    """Every sample is filled with its own number."""
    numbers = torch.arange(start, start + count, dtype=torch.float32)
    return numbers.reshape(count, *[1] * len(shape)).expand(count, *shape).contiguous()


def test_batch_1_holds_every_sample_once() -> None:
    queries = Samples([[numbered(5, 2), numbered(5, 3, start=10)]]).queries(1)
    assert [(float(a[0, 0]), float(b[0, 0])) for a, b in queries] == [(n, n + 10.0) for n in range(5)]
    assert [tuple(a.shape) for a, _ in queries] == [(1, 2)] * 5


def test_the_last_batch_is_filled_with_real_samples_not_padding() -> None:
    queries = Samples([[numbered(5, 1)]]).queries(4)
    assert [query[0].flatten().tolist() for query in queries] == [[0, 1, 2, 3], [4, 0, 1, 2]]


def test_a_batch_larger_than_the_samples_repeats_them() -> None:
    (query,) = Samples([[numbered(3, 1)]]).queries(7)
    assert query[0].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_ragged_groups_are_spread_evenly_and_never_mixed_in_a_batch() -> None:
    samples = Samples([[numbered(6, 4)], [numbered(2, 9, start=100)]])
    lengths = [query[0].shape[1] for query in samples.queries(1)]
    assert sorted(lengths) == [4] * 6 + [9] * 2
    assert lengths[:4].count(9) == 1
    assert all(query[0].shape[0] == 2 for query in samples.queries(2))
    assert samples.shapes == ("?",)
    assert samples.count == 8


def test_shapes_name_every_input_and_leave_the_batch_axis_out() -> None:
    assert Samples([[numbered(2, 3, 8), numbered(2)]]).shapes == ("3x8", "scalar")


def test_each_query_has_memory_of_its_own() -> None:
    whole = numbered(4, 2)
    queries = Samples([[whole]]).queries(1)
    queries[0][0].fill_(99)
    assert float(whole[0, 0]) == 0.0


def test_the_pool_is_cut_at_its_byte_limit_but_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_MAX_POOL_BYTES", 20)
    assert len(Samples([[numbered(9, 2)]]).queries(1)) == 2
    assert len(Samples([[numbered(9, 20)]]).queries(1)) == 1


def test_samples_are_read_by_group_and_position(tmp_path: Path) -> None:
    path = tmp_path / "samples.safetensors"
    save_file({"g1/in0": numbered(2, 5), "g0/in1": numbered(3, 1, start=7), "g0/in0": numbered(3, 4)}, path)
    with pytest.raises(DataError, match="different numbers of inputs"):
        load_samples(path)
    save_file({"g0/in1": numbered(3, 1, start=7), "g0/in0": numbered(3, 4)}, path)
    first = load_samples(path).queries(1)[0]
    assert [float(tensor[0, 0]) for tensor in first] == [0.0, 7.0]


def test_a_misnamed_tensor_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="'inputs'"):
        group_inputs({"inputs": numbered(1, 1)}, "here")


def test_no_samples_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        Samples([])
    with pytest.raises(DataError, match="no samples"):
        Samples([[torch.empty(0, 3)]])


def test_queries_are_joined_in_order_and_only_those_of_equal_shape_and_type_can_be() -> None:
    samples = Samples([[torch.arange(6.0).reshape(3, 2), torch.tensor([1, 2, 3])]])
    queries = samples.queries(1)
    first, second = samples.join([queries[2], queries[0]])
    assert first.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert second.tolist() == [3, 1]
    assert second.dtype == torch.int64
    assert len({samples.shape_key(query) for query in queries}) == 1
    other = Samples([[torch.zeros(1, 3), torch.tensor([1])]]).queries(1)[0]
    assert samples.shape_key(other) != samples.shape_key(queries[0])
    whole = Samples([[torch.zeros(1, 2, dtype=torch.int64), torch.tensor([1])]]).queries(1)[0]
    assert samples.shape_key(whole) != samples.shape_key(queries[0])
