"""What a compiled package of AOTInductor holds: the calls of its generated source, the types of its constants.

A package is a zip of a shared library and of the sources it was made from. A product (matrix product, convolution,
attention) that a library kernel runs counts as inside the engine; any other operator that the generated code hands
back to torch, one by one, is outside.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.ports import Coverage

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_CALL = re.compile(
    r"\baoti_torch_(?:cpu|cuda)_(?P<shim>\w+)\("
    r"|\baoti_torch_proxy_executor_call_function\(\s*proxy_executor,\s*(?P<index>\d+)"
    r"|\b(?P<kernel>(?:cpp|triton)_\w+|call_triton_\w+)\("
)
_PRODUCT = re.compile(r"^(_?(addmm|mm|bmm|baddbmm)|_?convolution|mkldnn_|_mkl_|_linear|_q|_weight_int|_scaled_|_flash)")
_EIGHT_BITS = re.compile(r"^_q(linear|conv)")
_ATTENTION = re.compile(r"^(_scaled_|_flash)")
_CONSTANT = re.compile(
    r"constants_info_\[(\d+)\]\.(?:dtype = cached_torch_dtype_(?P<dtype>\w+)|shape = \{(?P<shape>[\d, ]*)\});"
)
_LOW = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """The calls of one forward, in order: `inside` per call, `handed_back` the names of those that are not.

    `products` and `eight_bit` count the products and those of them in 8 bits; attention is not among them.
    """

    inside: tuple[bool, ...]
    handed_back: tuple[str, ...]
    products: int
    eight_bit: int

    @property
    def engines(self) -> int:
        """Runs of calls that stay in the engine."""
        return sum(is_inside for is_inside, _ in groupby(self.inside)) or 1

    @property
    def segments(self) -> int:
        """Runs of calls that leave it."""
        return sum(not is_inside for is_inside, _ in groupby(self.inside))


def read_calls(package: Path) -> Calls:
    """The calls of the generated forward, names of handed back operators as torch's dispatcher knows them."""
    source, table = _sources(package)
    _, _, forward = source.rpartition("AOTInductorModel::run_impl(")
    inside: list[bool] = []
    handed_back: list[str] = []
    products = eight_bit = 0
    for call in _CALL.finditer(forward):
        shim = call["shim"]
        if call["kernel"] or (shim and _PRODUCT.match(shim)):
            inside.append(True)
            is_product = bool(shim) and not _ATTENTION.match(shim)
            products += is_product
            eight_bit += is_product and bool(_EIGHT_BITS.match(shim))
        else:
            inside.append(False)
            handed_back.append(shim or _named(table, int(call["index"])))
    return Calls(inside=tuple(inside), handed_back=tuple(handed_back), products=products, eight_bit=eight_bit)


def _named(table: Sequence[str], index: int) -> str:
    return table[index] if index < len(table) else "unnamed"


def read_precision(package: Path) -> str:
    """int8 where most products are 8-bit; else what most of the stored weights are."""
    calls = read_calls(package)
    if 2 * calls.eight_bit > calls.products:
        return "int8"
    dtypes: dict[str, str] = {}
    sizes: dict[str, list[int]] = {}
    for found in _CONSTANT.finditer(_sources(package)[0]):
        if found["dtype"]:
            dtypes[found[1]] = found["dtype"]
        else:
            sizes[found[1]] = [int(size) for size in found["shape"].split(",") if size.strip()]
    weights: dict[str, int] = {}
    for number, dtype in dtypes.items():
        if len(sizes.get(number, ())) >= 2:
            weights[dtype] = weights.get(dtype, 0) + math.prod(sizes[number])
    most = max(weights, key=lambda dtype: weights[dtype], default="float32")
    return _LOW.get(most, "fp32")


def measure_coverage(program: ExportedProgram, package: Path, precision: str, ratio: float | None) -> Coverage:
    """`program` is the original, in fp32; `ratio` the share of FLOPs that was lowered, None where that is not known."""
    from plaster_ops.engines.facts import count_ops

    calls = read_calls(package)
    total = count_ops(program)
    if precision == "int8":
        ratio = calls.eight_bit / calls.products if calls.products else None
    if not calls.handed_back:
        return Coverage(
            ops_total=total,
            ops_in_engine=total,
            ops_supported=total,
            flops_ratio=1.0,
            engines=1,
            precision_ratio=ratio,
            layers=len(calls.inside),
        )
    from plaster_ops.engines.outside import look_outside

    outside = look_outside(_decomposed(program), calls.handed_back)
    inside = max(0, math.floor(total * (1.0 - len(calls.handed_back) / max(outside.operators, len(calls.inside)))))
    return Coverage(
        ops_total=total,
        ops_in_engine=inside,
        ops_supported=inside,
        flops_ratio=outside.flops_ratio,
        has_flops=outside.has_flops,
        engines=calls.engines,
        segments=calls.segments,
        fallback_ops=tuple(sorted(set(calls.handed_back))),
        boundary_bytes=outside.boundary_bytes,
        precision_ratio=ratio,
        layers=len(calls.inside),
        uncounted_ops=outside.uncounted,
    )


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    """The program in the operators that the compiler works on, so that their names agree."""
    from torch._inductor.decomposition import select_decomp_table

    from plaster_ops.engines.quiet import foreign_warnings_ignored

    with foreign_warnings_ignored():
        return program.run_decompositions(select_decomp_table())


def _sources(package: Path) -> tuple[str, Sequence[str]]:
    """The generated source, and the operators that it reaches through a table, in order of the table."""
    source, table = "", []
    with zipfile.ZipFile(package) as archive:
        for entry in archive.namelist():
            if entry.endswith(".wrapper.cpp"):
                source = archive.read(entry).decode(errors="replace")
            elif entry.endswith(".wrapper.json"):
                nodes: list[dict[str, Any]] = json.loads(archive.read(entry)).get("nodes", [])
                table = [str(node.get("node", {}).get("target", "unnamed")) for node in nodes]
    return source, table
