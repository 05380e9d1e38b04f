"""Parts of an exported graph that torch keeps as graphs of their own: no_grad, autocast, checkpointing, branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """`graphs` of which one runs on `operands`, within `context`."""

    graphs: tuple[GraphModule, ...]
    operands: tuple[Any, ...]
    context: AbstractContextManager[Any]


def _grad_block(args: Sequence[Any]) -> Block:
    return Block(graphs=(args[1],), operands=tuple(args[2:]), context=nullcontext())


def _autocast_block(args: Sequence[Any]) -> Block:
    device, dtype, enabled, cached, graph, *operands = args
    cast = torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=cached)
    return Block(graphs=(graph,), operands=tuple(operands), context=cast)


def _plain_block(args: Sequence[Any]) -> Block:
    return Block(graphs=(args[0],), operands=tuple(args[1:]), context=nullcontext())


def _branch(args: Sequence[Any]) -> Block:
    return Block(graphs=(args[1], args[2]), operands=tuple(args[3]), context=nullcontext())


_higher = torch.ops.higher_order
BLOCKS: dict[Any, Callable[[Sequence[Any]], Block]] = {
    _higher.wrap_with_set_grad_enabled: _grad_block,
    _higher.wrap_with_autocast: _autocast_block,
    _higher.tag_activation_checkpoint: _plain_block,
    _higher.cond: _branch,
}


def operand_nodes(n: Node, count: int) -> list[Any]:
    """The last `count` arguments, as they stand in the graph: nodes or plain numbers."""
    flat: list[Any] = []
    for argument in n.args:
        flat += argument if isinstance(argument, (tuple, list)) else [argument]
    return flat[len(flat) - count :]
