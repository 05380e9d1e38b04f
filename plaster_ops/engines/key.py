"""What an engine is kept under: a digest of everything that its files depend on but the values of its weights.

Two graphs that differ in a stride, a width or a slope, two sets of calibration inputs, thread counts, library versions
or CPUs never share a key. Keys of the backends' own libraries are not trusted: torch-tensorrt's leaves arguments out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from plaster_ops.engines.artifact import spec_to_json
from plaster_ops.engines.cpu import this_cpu
from plaster_ops.engines.gpus import visible_gpus
from plaster_ops.ports import EngineSpec

_FORMAT = 1


def engine_key(
    graph_digest: str, spec: EngineSpec, versions: Sequence[tuple[str, str]], machine: str | None = None
) -> str:
    """SHA-256 over the graph with all arguments and shapes, the spec with its options, versions, and the machine.

    `machine` None: this one, as the spec's device sees it.
    """
    parts = {
        "format": _FORMAT,
        "graph": graph_digest,
        "spec": spec_to_json(spec),
        "versions": dict(versions),
        "machine": machine_of(spec.device) if machine is None else machine,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def machine_of(device: str) -> str:
    """What compiled code depends on: the CPU's vector instructions, or the GPU's name, capability and driver."""
    if not device.startswith("cuda"):
        return f"cpu {this_cpu().digest}"
    index = int(device.partition(":")[2] or 0)
    gpus = visible_gpus()
    if index >= len(gpus):
        return f"{device} unknown"
    gpu = gpus[index]
    return f"{gpu.name} {gpu.capability[0]}.{gpu.capability[1]} driver {gpu.driver}"


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """`name old -> new` for each entry that differs, by name."""
    names = sorted(before.keys() | now.keys())
    return [
        f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in names
        if before.get(name) != now.get(name)
    ]
