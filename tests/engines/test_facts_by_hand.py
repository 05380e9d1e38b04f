"""Sizes of known models, and of models that are easy to count wrongly, against arithmetic that stands here."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from functorch.experimental import control_flow
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from plaster_ops.engines.export import export_program, input_specs
from plaster_ops.engines.facts import graph_facts


def facts_of(module: nn.Module, *inputs: Tensor, axes: Any = None) -> dict[str, Any]:
    module = module.eval()
    specs = input_specs([inputs, tuple(tensor[:2] for tensor in inputs)], axes)
    return graph_facts(export_program(module, inputs[0] if len(inputs) == 1 else inputs, specs, 8), module)


class Residual(nn.Module):
    """The basic block of a residual network: two 3 x 3 convolutions, and a 1 x 1 one where the shape changes."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs))
        self.second = nn.Sequential(nn.Conv2d(outs, outs, 3, 1, 1, bias=False), nn.BatchNorm2d(outs))
        self.past: nn.Module = nn.Identity()
        if ins != outs:
            self.past = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.past(x))


def resnet18() -> nn.Module:
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    blocks = [Residual(*width) for width in (*widths, (512, 512, 1))]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def test_a_resnet_18_has_11689512_parameters_and_1814073344_macs_every_time() -> None:
    module = resnet18()
    image = torch.rand(2, 3, 224, 224)
    facts = facts_of(module, image)
    stem = 112 * 112 * 64 * 7 * 7 * 3
    plain = [4 * 56 * 56 * 64 * 9 * 64]
    for side, ins, outs in ((28, 64, 128), (14, 128, 256), (7, 256, 512)):
        plain.append(side * side * outs * (9 * ins + 3 * 9 * outs + ins))
    macs = stem + sum(plain) + 512 * 1000
    assert macs == 1_814_073_344
    assert facts["sample_macs"] == facts["connections_effective_count"] == macs
    assert facts["sample_flops"] == 2 * macs
    assert facts["params_count"] == facts["params_trainable_count"] == 11_689_512
    assert facts["layers_count"] == 20 + 20 + 1
    assert facts["depth_count"] == 4 + 8 * 7 + 3
    convolutions = 64 * 112**2 + 4 * 64 * 56**2 + 5 * (128 * 28**2 + 256 * 14**2 + 512 * 7**2)
    assert facts["nodes_count"] == 2 * convolutions + 1000
    assert facts["nodes_per_layer_max"] == 64 * 112 * 112
    assert facts["layer_flops_max"] == 2 * stem
    assert facts["connections_count"] == 11_689_512 - 2 * (64 * 5 + 128 * 5 + 256 * 5 + 512 * 5) - 1000
    assert facts_of(module, image) == facts


def test_a_transformer_encoder_is_counted_as_its_arithmetic_says() -> None:
    wide, heads, hidden, depth, length, words = 16, 2, 32, 2, 9, 20
    layer = nn.TransformerEncoderLayer(wide, heads, hidden, batch_first=True)
    module = nn.Sequential(nn.Embedding(words, wide), nn.TransformerEncoder(layer, depth), nn.Linear(wide, words))
    module[2].weight = module[0].weight
    facts = facts_of(module, torch.randint(0, words, (3, length)))
    weights = 3 * wide * wide + wide * wide + wide * hidden + hidden * wide
    biases = 3 * wide + wide + hidden + wide + 4 * wide
    assert facts["params_count"] == words * wide + depth * (weights + biases) + words
    assert facts["weights_bytes"] == 4 * facts["params_count"]
    assert facts["layers_count"] == 1 + depth * (1 + 2 + 2) + 1
    assert facts["nodes_count"] == length * (wide + depth * (wide + hidden + wide + 2 * wide) + words)
    assert facts["nodes_per_layer_max"] == length * hidden
    assert facts["nodes_per_layer_mean"] == facts["nodes_count"] / facts["layers_count"]
    attended = 2 * length * length * wide
    uses = length * (depth * weights + wide * words)
    assert facts["sample_macs"] == uses + depth * attended
    assert facts["connections_effective_count"] == uses
    assert facts["connections_count"] == depth * weights + words * wide
    assert facts["layer_flops_max"] == 2 * (length * 4 * wide * wide + attended)


class Forward(nn.Module):
    """Parameters of no module, or modules called in some way: `forward` is given."""

    def __init__(self, how: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.how = how
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            else:
                self.register_parameter(name, nn.Parameter(torch.rand(part) + 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def under_no_grad(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = m.one(x).relu()
    return m.two(hidden)


def under_autocast(m: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = m.one(x).relu()
    return m.two(hidden.float())


def branching(m: Any, x: Tensor) -> Tensor:
    return m.two(torch.cond(x.sum() > 2, lambda t: t * 2, m.one, (x,)))


def three_times(m: Any, x: Tensor) -> Tensor:
    return m.one(torch.relu(m.one(torch.relu(m.one(x)))))


def pruned() -> nn.Module:
    linear = nn.Linear(8, 8)
    prune.l1_unstructured(linear, "weight", 0.5)
    return linear


def unrolled(m: Any, x: Tensor) -> Tensor:
    hidden = x.new_zeros(x.shape[0], 10)
    for step in range(5):
        hidden = m.cell(x[:, step], hidden)
    return hidden


def over_steps(m: Any, x: Tensor) -> Tensor:
    return m.two(control_flow.map(m.one, x.transpose(0, 1)).transpose(0, 1))


def biased_attention(m: Any, x: Tensor) -> Tensor:
    query, key, value = m.project(x).view(x.shape[0], 9, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=m.bias).flatten(2)


LINEAR = {"one": nn.Linear(8, 8), "two": nn.Linear(8, 4)}
EIGHT = (torch.rand(3, 8),)
# layers, nodes, MACs, weights that connect, their uses
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], tuple[int, int, int, int, int]]] = {
    "depthwise": (
        lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
        (torch.rand(3, 8, 10, 10),),
        (1, 800, 800 * 9, 72, 800 * 9),
    ),
    "grouped": (lambda: nn.Conv1d(8, 12, 3, groups=4), (torch.rand(3, 8, 6),), (1, 48, 48 * 3 * 2, 72, 48 * 3 * 2)),
    "transposed": (
        lambda: nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2),
        (torch.rand(3, 8, 5, 5),),
        (1, 4 * 11 * 11, 25 * 8 * 2 * 9, 144, 25 * 8 * 2 * 9),
    ),
    "stacked lstm": (
        lambda: Forward(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(6, 10, 2, bidirectional=True, batch_first=True)),
        (torch.rand(3, 2, 6),),
        (1, 2 * 20, 2 * 80 * (6 + 10 + 20 + 10), 80 * (6 + 10 + 20 + 10), 2 * 80 * 46),
    ),
    "gru": (
        lambda: Forward(lambda m, x: m.rnn(x)[0], rnn=nn.GRU(6, 10, batch_first=True)),
        (torch.rand(3, 2, 6),),
        (1, 20, 2 * 30 * 16, 30 * 16, 2 * 30 * 16),
    ),
    "a cell in a loop": (
        lambda: Forward(unrolled, cell=nn.GRUCell(6, 10)),
        (torch.rand(3, 5, 6),),
        (1, 50, 5 * 30 * 16, 30 * 16, 5 * 30 * 16),
    ),
    "one linear three times": (lambda: Forward(three_times, one=LINEAR["one"]), EIGHT, (1, 24, 192, 64, 192)),
    "one normed linear three times": (
        lambda: Forward(three_times, one=weight_norm(nn.Linear(8, 8))),
        EIGHT,
        (1, 24, 192, 64, 192),
    ),
    "parameters of no module": (
        lambda: Forward(
            lambda m, x: functional.relu(x @ m.a.T + m.bias) @ m.b @ m.c, a=(16, 8), bias=(16,), b=(16, 4), c=(4,)
        ),
        EIGHT,
        (3, 16 + 4 + 1, 128 + 64 + 4, 128 + 64 + 4, 128 + 64 + 4),
    ),
    "one weight there and back": (
        lambda: Forward(lambda m, x: functional.linear(m.one(x), m.one.weight.t()), one=nn.Linear(8, 4)),
        EIGHT,
        (2, 12, 64, 32, 64),
    ),
    "halves of one parameter": (
        lambda: Forward(lambda m, x: x @ m.a[:, :4] @ m.a[:4], a=(8, 8)),
        EIGHT,
        (2, 12, 32 + 32, 64 - 16, 64),
    ),
    "two factors of a weight": (
        lambda: Forward(
            lambda m, x: functional.linear(x, m.one.weight + m.a @ m.b), one=nn.Linear(8, 8), a=(8, 2), b=(2, 8)
        ),
        EIGHT,
        (1, 8, 64 + 128, 64, 64),
    ),
    "no_grad inside": (lambda: Forward(under_no_grad, **LINEAR), EIGHT, (2, 12, 96, 96, 96)),
    "autocast inside": (lambda: Forward(under_autocast, **LINEAR), EIGHT, (2, 12, 96, 96, 96)),
    "a branch inside": (lambda: Forward(branching, **LINEAR), EIGHT, (2, 12, 96, 96, 96)),
    "a weight for each sample of the batch": (
        lambda: Forward(lambda m, x: torch.bmm(x, m.a.expand(x.shape[0], -1, -1)), a=(1, 8, 8)),
        (torch.rand(3, 5, 8),),
        (1, 40, 5 * 64, 64, 5 * 64),
    ),
    "a module that is never called": (
        lambda: Forward(lambda m, x: m.two(x), **LINEAR),
        EIGHT,
        (1, 4, 32, 32, 32),
    ),
    "attention that also returns its weights": (
        lambda: Forward(lambda m, x: m.attend(x, x, x)[0], attend=nn.MultiheadAttention(16, 4, batch_first=True)),
        (torch.rand(3, 9, 16),),
        (1, 144, 9 * 1024 + 2 * 9 * 9 * 16, 1024, 9 * 1024),
    ),
    "attention with a learned bias": (
        lambda: Forward(biased_attention, project=nn.Linear(16, 48), bias=(4, 9, 9)),
        (torch.rand(3, 9, 16),),
        (1, 9 * 48, 9 * 768 + 2 * 9 * 9 * 16, 768, 9 * 768),
    ),
    "two inputs": (
        lambda: nn.Bilinear(5, 6, 7),
        (torch.rand(3, 5), torch.rand(3, 6)),
        (1, 7, 7 * 6 * (5 + 1), 210, 7 * 6 * 6),
    ),
    "norms and activations": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), nn.PReLU(8)),
        (torch.rand(3, 3, 2, 2),),
        (2, 64, 96, 24, 96),
    ),
    "a norm by hand": (
        lambda: nn.Sequential(
            nn.Linear(8, 8), Forward(lambda m, x: x * torch.rsqrt(x.square().mean(-1, True)) * m.a, a=(8,))
        ),
        EIGHT,
        (2, 16, 64, 64, 64),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_easily_counted_wrongly(name: str) -> None:
    make, inputs, (layers, nodes, macs, weights, uses) = CASES[name]
    facts = facts_of(make(), *inputs)
    found = {"layers": facts["layers_count"], "nodes": facts["nodes_count"], "macs": facts["sample_macs"]}
    found |= {"weights": facts["connections_count"], "uses": facts["connections_effective_count"]}
    assert found == {"layers": layers, "nodes": nodes, "macs": macs, "weights": weights, "uses": uses}


def test_a_loop_that_torch_keeps_whole_is_named_as_uncounted_and_the_rest_is_counted() -> None:
    facts = facts_of(Forward(over_steps, **LINEAR), torch.rand(3, 5, 8))
    assert facts["flops_uncounted_ops"] == ["map_impl"]
    assert (facts["layers_count"], facts["sample_macs"]) == (1, 5 * 8 * 4)


def test_counting_changes_no_buffer_and_no_input_of_the_model() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(1)
            return self.one(x.relu_())

    module, x = Counting(), torch.full((3, 8), -1.0)
    specs = input_specs([(x,), (x[:2],)])
    program = export_program(module.eval(), x, specs, 8)
    assert graph_facts(program, module) == graph_facts(program, module)
    assert (float(program.state_dict["calls"]), float(x.sum())) == (0.0, -24.0)


def test_pruned_connections_are_those_that_the_mask_leaves() -> None:
    facts = facts_of(pruned(), *EIGHT)
    assert (facts["connections_count"], facts["connections_unique_count"]) == (64, 32)
    assert facts["params_count"] == 72


def test_weights_that_share_memory_under_two_parameters_are_one() -> None:
    module = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    module[1].weight.data = module[0].weight.data
    facts = facts_of(module, *EIGHT)
    assert facts["params_count"] == facts["connections_count"] == 64
    assert facts["weights_bytes"] == 4 * 64
    assert (facts["layers_count"], facts["connections_effective_count"]) == (2, 128)


def test_weights_are_the_state_dict_and_what_they_would_be_in_fp32() -> None:
    module = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)).half()
    module.register_buffer("not_saved", torch.rand(1000), persistent=False)
    module = Forward(lambda m, x: m.body(x.half()).float(), body=module)
    facts = facts_of(module, *EIGHT)
    assert facts["weights_bytes"] == 2 * (32 + 4 + 4 * 4) + 8
    assert facts["weights_fp32_bytes"] == 4 * (32 + 4 + 4 * 4) + 8


def test_a_dynamic_axis_is_counted_at_the_middle_of_its_range() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    facts = facts_of(module, torch.rand(3, 5, 8), axes={0: {1: (2, 10)}})
    assert facts["sample_macs"] == 6 * (64 + 32)
