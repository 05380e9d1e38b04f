"""What the instructions of this CPU are good for: the reduced precisions that it runs natively. Loads nothing."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_BF16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "svebf16"}
_INT8_DOT = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
_RELEVANT = ("avx", "amx", "fma", "f16c", "sse4", "asimd", "sve", "bf16", "i8mm", "neon")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """`has_bf16`: products of bf16 numbers in hardware. `has_int8_dot`: 8-bit dot products that cannot overflow.

    Without the latter an 8-bit product is summed in 16 bits and saturates, so weights are kept to 7 bits
    (vpmaddubsw; measured on a CPU with AVX2 alone: error 0.20 of the range at 8 bits, 0.03 at 7).
    """

    model: str
    flags: frozenset[str]

    @property
    def has_bf16(self) -> bool:
        """Native bf16 arithmetic."""
        return bool(self.flags & _BF16)

    @property
    def has_avx512(self) -> bool:
        """The instruction set that OpenVINO asks for to run bf16."""
        return "avx512bw" in self.flags

    @property
    def has_int8_dot(self) -> bool:
        """VNNI, AMX, or the dot products of Arm."""
        return bool(self.flags & _INT8_DOT)

    @property
    def digest(self) -> str:
        """Sixteen hex digits over the architecture and the vector instructions: what compiled code depends on."""
        relevant = sorted(flag for flag in self.flags if flag.startswith(_RELEVANT))
        return hashlib.sha256(" ".join([platform.machine(), *relevant]).encode()).hexdigest()[:16]


def read_cpu(cpuinfo: Path = _CPUINFO) -> Cpu:
    """The CPU that `cpuinfo` describes; without flags where it cannot be read."""
    fields: dict[str, str] = {}
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    flags = fields.get("flags") or fields.get("features") or ""
    return Cpu(model=fields.get("model name") or platform.machine(), flags=frozenset(flags.split()))


@cache
def this_cpu() -> Cpu:
    """The CPU of this machine, read once."""
    return read_cpu()
