from pathlib import Path

import pytest

from plaster_ops.engines.cpu import read_cpu

ZEN3, ZEN5 = "sse4_2 fma avx2", "fma avx2 avx512f avx512bw avx512_bf16 avx512_vnni avx_vnni"


def cpu_with(folder: Path, text: str):  # type: ignore[no-untyped-def]
    file = folder / "cpuinfo"
    file.write_text(text)
    return read_cpu(file)


@pytest.mark.parametrize(
    ("flags", "bf16", "int8"),
    [(ZEN3, False, False), (ZEN5, True, True), ("avx2 avx_vnni", False, True), ("amx_bf16 amx_int8", True, True)],
)
def test_the_flags_say_which_products_the_cpu_has(flags: str, bf16: bool, int8: bool, tmp_path: Path) -> None:
    cpu = cpu_with(
        tmp_path, f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags: x\n"
    )
    assert (cpu.model, cpu.has_bf16, cpu.has_int8_dot) == ("Some CPU", bf16, int8)


def test_an_arm_cpu_calls_them_features(tmp_path: Path) -> None:
    cpu = cpu_with(tmp_path, "Features\t: fp asimd asimddp bf16 i8mm\n")
    assert (cpu.has_bf16, cpu.has_int8_dot, cpu.has_avx512) == (True, True, False)


def test_a_machine_that_says_nothing_has_no_flags(tmp_path: Path) -> None:
    cpu = read_cpu(tmp_path / "none")
    assert cpu.flags == frozenset()
    assert cpu.model
