"""Which node of how many this process is, as an outer launcher's environment says. Standard library only.

torchrun, with our command as its worker
    by TORCHELASTIC_RUN_ID and GROUP_RANK; node GROUP_RANK of GROUP_WORLD_SIZE, task LOCAL_RANK; meets at MASTER_ADDR
    (the port there is torchrun's own); this start is named by the run id and TORCHELASTIC_RESTART_COUNT
Slurm, a step of srun
    by SLURM_JOB_ID and SLURM_STEP_ID; node SLURM_NODEID of SLURM_STEP_NUM_NODES, task SLURM_LOCALID; meets at
    MASTER_ADDR, else at the first of SLURM_STEP_NODELIST; named by job, step and SLURM_RESTART_COUNT
Kubeflow's trainer, or torchrun's own variables
    by PET_NODE_RANK or PET_NNODES; node and nodes are these; meets at PET_MASTER_ADDR and PET_MASTER_PORT, else at
    MASTER_ADDR and MASTER_PORT; named by PET_RDZV_ID
by hand
    by NODE_RANK or NNODES; node and nodes are these; meets at MASTER_ADDR and MASTER_PORT
Kubernetes, an Indexed Job
    by JOB_COMPLETION_INDEX, which is the node where --nodes or train.nodes is above 1; meets at MASTER_ADDR

The first that fits counts. Not a launcher: the shell of salloc, a batch script outside srun, an Indexed Job of
which one index is a whole retrain.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from plaster_ops.errors import UsageError

_SHELLS = ("bash", "interactive")
_NO_STEPS = range(0xFFFFFFF0, 0x100000000)
"""Slurm numbers the batch script and the interactive shell from the upper end: they are no steps of srun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    """What an outer launcher says. `nodes` and `port` are None where it does not; `port` of 0 means any free one."""

    name: str
    node: int
    nodes: int | None
    task: int = 0
    address: str | None = None
    port: int | None = None
    job: str = ""


def outer_launcher(environment: Mapping[str, str]) -> Outer | None:
    """What started this process on several nodes or as several tasks; None where nothing did.

    Raises `UsageError` for an environment that says only half of it, or what is no number.
    """
    for recognise in (_torchrun, _slurm, _kubeflow, _by_hand, _indexed_job):
        found = recognise(_Variables(environment))
        if found is not None:
            return found
    return None


class _Variables:
    """The environment, an empty variable being none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._set = {name: value for name, value in environment.items() if value.strip()}

    def has(self, *names: str) -> bool:
        return all(name in self._set for name in names)

    def text(self, name: str) -> str | None:
        return self._set.get(name)

    def number(self, launcher: str, name: str) -> int:
        """Raises `UsageError` where it is not set, or no whole number from 0."""
        value = self._set.get(name)
        if value is None:
            raise UsageError(
                f"the environment of {launcher} lacks {name}",
                f"set {name}, or give --nodes and --node-rank, or unset the rest of it",
            )
        if not value.strip().isdecimal():
            raise UsageError(
                f"{name} = {value!r} in the environment of {launcher} is no whole number",
                "nodes of a fit are a fixed number; give --nodes and --node-rank instead",
            )
        return int(value)

    def master(self, launcher: str, prefix: str = "") -> tuple[str | None, int | None]:
        """The meeting place; a port without an address is half of one."""
        address, port = self.text(f"{prefix}MASTER_ADDR"), f"{prefix}MASTER_PORT"
        if address is None and self.has(port):
            raise UsageError(
                f"the environment of {launcher} sets {port} and no {prefix}MASTER_ADDR", "set both, or neither"
            )
        return address, self.number(launcher, port) if self.has(port) else None


def _torchrun(given: _Variables) -> Outer | None:
    if not given.has("TORCHELASTIC_RUN_ID", "GROUP_RANK"):
        return None
    name = "torchrun"
    restarts = given.text("TORCHELASTIC_RESTART_COUNT") or "0"
    return Outer(
        name=name,
        node=given.number(name, "GROUP_RANK"),
        nodes=given.number(name, "GROUP_WORLD_SIZE"),
        task=given.number(name, "LOCAL_RANK"),
        address=given.text("MASTER_ADDR"),
        port=0,
        job=f"torchrun {given.text('TORCHELASTIC_RUN_ID')} {restarts}",
    )


def _slurm(given: _Variables) -> Outer | None:
    if not given.has("SLURM_JOB_ID", "SLURM_STEP_ID") or given.text("SLURM_JOB_NAME") in _SHELLS:
        return None
    name = "Slurm"
    if given.number(name, "SLURM_STEP_ID") in _NO_STEPS:
        return None
    nodelist = given.text("SLURM_STEP_NODELIST") or given.text("SLURM_JOB_NODELIST")
    restarts = given.text("SLURM_RESTART_COUNT") or "0"
    return Outer(
        name=name,
        node=given.number(name, "SLURM_NODEID"),
        nodes=given.number(name, "SLURM_STEP_NUM_NODES"),
        task=given.number(name, "SLURM_LOCALID"),
        address=given.text("MASTER_ADDR") or (first_host(nodelist) if nodelist else None),
        port=given.number(name, "MASTER_PORT") if given.has("MASTER_ADDR", "MASTER_PORT") else 0,
        job=f"slurm {given.text('SLURM_JOB_ID')}.{given.text('SLURM_STEP_ID')} {restarts}",
    )


def _kubeflow(given: _Variables) -> Outer | None:
    if not (given.has("PET_NODE_RANK") or given.has("PET_NNODES")):
        return None
    name = "Kubeflow (PET_*)"
    address, port = given.master(name, "PET_")
    if address is None:
        address, port = given.master(name)
    return Outer(
        name=name,
        node=given.number(name, "PET_NODE_RANK"),
        nodes=given.number(name, "PET_NNODES"),
        address=address,
        port=port,
        job=f"pet {given.text('PET_RDZV_ID')}" if given.has("PET_RDZV_ID") else "",
    )


def _by_hand(given: _Variables) -> Outer | None:
    if not (given.has("NODE_RANK") or given.has("NNODES")):
        return None
    name = "NODE_RANK and NNODES"
    address, port = given.master(name)
    return Outer(
        name=name, node=given.number(name, "NODE_RANK"), nodes=given.number(name, "NNODES"), address=address, port=port
    )


def _indexed_job(given: _Variables) -> Outer | None:
    if not given.has("JOB_COMPLETION_INDEX"):
        return None
    name = "Kubernetes (JOB_COMPLETION_INDEX)"
    address, port = given.master(name) if given.has("MASTER_ADDR") else (None, None)
    return Outer(name=name, node=given.number(name, "JOB_COMPLETION_INDEX"), nodes=None, address=address, port=port)


def first_host(nodelist: str) -> str:
    """The first of Slurm's compressed list of names: `gpu[003-005,9],login1` gives `gpu003`."""
    head = re.match(r"[^,\[]*(\[[^\]]*\][^,\[]*)*", nodelist.strip())
    first = head.group() if head else nodelist

    def lowest(numbers: re.Match[str]) -> str:
        return numbers.group(1).split(",")[0].split("-")[0]

    return re.sub(r"\[([^\]]*)\]", lowest, first)
