"""Which part this process has in a fit: alone, node 0 of several, another node, or a task with nothing to do."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from plaster_ops.errors import UsageError
from plaster_ops.training.nodes.leader import Place
from plaster_ops.training.outer import Outer, outer_launcher


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """`node` of `nodes`. `idle`: another task of this same node does the work. `told`: where that was learned."""

    node: int = 0
    nodes: int = 1
    place: Place | None = None
    job: str = ""
    idle: bool = False
    told: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the command line says; None where it says nothing."""

    nodes: int | None = None
    node_rank: int | None = None
    rendezvous: str | None = None


def find_part(
    asked: Asked, *, nodes: int | Literal["auto"], rendezvous: str | None, environment: Mapping[str, str]
) -> Part:
    """The part of this process. `nodes` and `rendezvous` are the settings'.

    The command line wins over the settings, and these over the environment. Raises `UsageError` for a half-set
    environment, and where the three do not fit together.
    """
    wanted = asked.nodes or (nodes if nodes != "auto" else None)
    rank = 0 if asked.nodes == 1 and asked.node_rank is None else asked.node_rank
    outer = _outer(environment, said_all=wanted is not None and rank is not None)
    if outer is not None and outer.nodes is None and wanted in (None, 1):
        outer = None  # an Indexed Job whose indices have nothing to do with each other
    count = wanted or (outer.nodes if outer is not None and outer.nodes else 1)
    node = rank if rank is not None else (outer.node if outer is not None else 0)
    if node >= count:
        raise UsageError(
            f"this is node {node}, counted from 0, and train.nodes = {count}",
            "give --nodes (or train.nodes) the number of all nodes, and each its own --node-rank",
        )
    idle = outer is not None and outer.task > 0
    return Part(
        node=node,
        nodes=count,
        place=_place(asked.rendezvous or rendezvous, outer) if count > 1 else None,
        job=outer.job if outer is not None else "",
        idle=idle,
        told=_told(outer, node, count) if outer is not None and (count > 1 or idle) else "",
    )


def _outer(environment: Mapping[str, str], *, said_all: bool) -> Outer | None:
    """A half-set environment is no error where the command line has said all that it could."""
    try:
        return outer_launcher(environment)
    except UsageError:
        if said_all:
            return None
        raise


def _place(rendezvous: str | None, outer: Outer | None) -> Place:
    if rendezvous is not None:
        return parse_place(rendezvous)
    if outer is not None and outer.address is not None:
        return Place(address=outer.address, port=outer.port or 0)
    return Place(address=socket.getfqdn())


def parse_place(text: str) -> Place:
    """`HOST` or `HOST:PORT`; `[::1]:29400` for an IPv6 address. Raises `UsageError` for what is neither."""
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon or (":" in host and not host.startswith("[")):
        host, port = text, "0"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"rendezvous {text!r} is no HOST:PORT", "for example: --rendezvous node0.cluster:29400")
    return Place(address=host, port=int(port))


def _told(outer: Outer, node: int, nodes: int) -> str:
    task = f", task {outer.task}: task 0 does the work" if outer.task > 0 else ""
    return f"{outer.name}: node {node} of {nodes}{task}"
