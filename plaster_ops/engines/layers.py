"""The layers of a model, found in how its graph ran: what each is called, its units, its FLOPs and its weights.

A layer is an operator that multiplies its input by parameters (linear, convolution, recurrent), a norm with weights, or
an embedding. A module of torch that holds several products (attention, stacked recurrent layers) is one; so is a module
of the user's that has no product and scales by parameters. Activations, PReLU included, are none.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from plaster_ops.engines.walk import Operation

_PRODUCTS = {
    "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "inner", "einsum",
    "tensordot", "bilinear", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
    "rnn_relu_cell", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "convolution", "_convolution", "conv_tbc", "chain_matmul", "linalg_vecdot", "linalg_multi_dot",
}  # fmt: skip
_NORMS = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "native_batch_norm", "native_layer_norm",
    "native_group_norm", "_native_batch_norm_legit_no_training", "_fused_rms_norm",
}  # fmt: skip
_LOOKUPS = {"embedding", "embedding_bag", "_embedding_bag"}
_SCALES = {"mul", "mul_", "addcmul", "div"}
_WHOLE = (nn.MultiheadAttention, nn.RNNBase)


@dataclass(kw_only=True, slots=True)
class Layer:
    """`units`: output elements for one sample, by call of the layer. `flops`: of all its calls.

    `connections`: what it multiplies by, by identity; empty for norms and embeddings. `uses`: FLOPs of those products.
    """

    name: str
    units: dict[Hashable, int] = field(default_factory=dict)
    flops: int = 0
    uses: int = 0
    connections: dict[int, Tensor] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """Output units of all its calls."""
        return sum(self.units.values())


def find_layers(operations: Sequence[Operation], module: nn.Module) -> list[Layer]:
    """In the order of their first call. A layer that is called again, under whatever name, is the same layer."""
    modules = dict(module.named_modules(remove_duplicate=False))
    with_products = {o.path for o in operations if _multiplies(o)}
    layers: dict[Hashable, Layer] = {}
    for number, operation in enumerate(operations):
        owner = modules.get(operation.path, module)
        key = _key(operation, owner, with_products)
        if key is None:
            continue
        layer = layers.setdefault(key, Layer(name=_name(operation, owner)))
        layer.flops += operation.flops
        if isinstance(owner, _WHOLE) and not _multiplies(operation):
            continue
        if _multiplies(operation):
            layer.uses += operation.flops
            layer.connections.update(_connections(operation))
        one_call = isinstance(owner, _WHOLE) or key == (id(owner),)
        layer.units[operation.application if one_call else number] = operation.units
    return [layer for layer in layers.values() if layer.units]


def count_weights(layers: Iterable[Layer]) -> tuple[int, int]:
    """(all, non-zero) entries of what the layers multiply by; an entry that several layers read counts once."""
    read = {identity: tensor for layer in layers for identity, tensor in layer.connections.items()}
    by_storage: dict[int, list[Tensor]] = {}
    for tensor in read.values():
        by_storage.setdefault(tensor.untyped_storage().data_ptr(), []).append(tensor)
    found = [_count_in_storage(tensors) for tensors in by_storage.values()]
    return sum(total for total, _ in found), sum(nonzero for _, nonzero in found)


def _key(operation: Operation, owner: nn.Module, with_products: set[str]) -> Hashable | None:
    """What a layer is known by; None where the operator belongs to none."""
    if isinstance(owner, _WHOLE):
        return (id(owner),)
    if not operation.reads_input:
        return None
    weights = tuple(sorted(_connections(operation) or dict(operation.weights)))
    named = operation.kind in _NORMS or operation.kind in _LOOKUPS
    if _multiplies(operation) or (named and weights):
        return id(owner), operation.kind, weights
    by_hand = operation.path not in with_products and next(owner.children(), None) is None
    if by_hand and not operation.moves and operation.weights and operation.kind in _SCALES:
        return (id(owner),)
    return None


def _name(operation: Operation, owner: nn.Module) -> str:
    plain = isinstance(owner, _WHOLE) or type(owner).__module__.startswith("torch.nn")
    return (operation.path if plain else f"{operation.path}:{operation.kind}") or operation.kind


def _multiplies(operation: Operation) -> bool:
    """Whether an operator multiplies what depends on the input by parameters."""
    is_product = operation.kind in _PRODUCTS or (operation.flops > 0 and "attention" not in operation.kind)
    return operation.reads_input and is_product and bool(_connections(operation))


def _connections(operation: Operation) -> dict[int, Tensor]:
    """The weights that a product multiplies by: not its bias, which has one axis where the weights have more."""
    weights = operation.weights
    wide = {identity: tensor for identity, tensor in weights if tensor.dim() >= 2}
    if wide:
        return wide
    return dict(weights) if operation.kind in ("matmul", "mv", "dot", "vdot", "inner", "einsum", "tensordot") else {}


def _count_in_storage(tensors: Sequence[Tensor]) -> tuple[int, int]:
    """(all, non-zero) entries that any of these views of one storage reads."""
    seen = {(t.storage_offset(), tuple(sorted(zip(t.stride(), t.shape, strict=True)))): t for t in tensors}
    views = [_without_repeats(tensor) for tensor in seen.values()]
    if len(views) == 1:
        return views[0].numel(), int(torch.count_nonzero(views[0]))
    first = views[0]
    length = first.untyped_storage().nbytes() // first.element_size()
    used = torch.zeros(length, dtype=torch.bool)
    for view in views:
        used.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(True)
    flat = first.as_strided((length,), (1,), 0)
    return int(used.sum()), int(torch.count_nonzero(flat[used]))


def _without_repeats(tensor: Tensor) -> Tensor:
    """The entries of an expanded tensor once."""
    for axis, stride in enumerate(tensor.stride()):
        if stride == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def rows_of(layers: Sequence[Layer]) -> list[Mapping[str, object]]:
    """One plain row a layer, for whoever counts by hand."""
    return [
        {"name": layer.name, "calls": len(layer.units), "nodes": layer.nodes, "flops": layer.flops}
        | {"weights": sum(tensor.numel() for tensor in layer.connections.values())}
        for layer in layers
    ]
