"""Backends and candidates as tables: a mark for each fate, numbers with units, every reason told."""

import re
from typing import Any

import pytest

from plaster_ops.flow.engines import Backend, Listing, list_engines
from plaster_ops.report.engine_table import engines_view, ladder_markdown, ladder_view
from plaster_ops.report.table import print_view
from plaster_ops.settings import Settings

CHOSEN = {
    "backend": "openvino",
    "precision": "int8",
    "ok": True,
    "built": True,
    "chosen": True,
    "reason": None,
    "build_s": 2.5,
    "engine_bytes": 48_700,
    "rel_err_max": 0.0123,
    "retained_ratio": 0.9987,
    "p50_ms": 0.1234,
    "samples_per_s": 8214.0,
}
KEPT = CHOSEN | {"precision": "fp32", "chosen": False, "retained_ratio": None, "score_loss": 0.0042, "p50_ms": None}
REJECTED = CHOSEN | {
    "backend": "onnxruntime",
    "chosen": False,
    "ok": False,
    "reason": "parity with eager failed: a | b",
    "p50_ms": None,
    "samples_per_s": None,
}
NEVER_BUILT = {"backend": "tensorrt", "precision": "fp16", "ok": False, "reason": "no NVIDIA GPU is visible"}
ROWS: list[dict[str, Any]] = [CHOSEN, KEPT, REJECTED, NEVER_BUILT]

LISTING = Listing(
    backends=(
        Backend(
            name="openvino",
            ok=True,
            versions={"openvino": "2026.1", "nncf": "3.0"},
            precisions=("fp32", "int8"),
            refit="none",
            options={"hint": ("latency", "throughput"), "pinning": False},
        ),
        Backend(name="eager", ok=True, precisions=("fp32", "bf16"), emulated=("bf16",), refit="in_place"),
        Backend(
            name="tensorrt_rtx",
            ok=True,
            runs_here=False,
            reason="builds here, runs on an NVIDIA GPU only",
            precisions=("fp16",),
            versions={"onnx": "1.19"},
        ),
        Backend(name="tensorrt", ok=False, reason="torch_tensorrt is not installed", precisions=("fp8",), refit="none"),
    ),
    cpu="a CPU of 2026",
    cpu_has=("bf16", "avx512"),
    gpus=(),
)


def shown(view: Any, capsys: pytest.CaptureFixture[str], *, plain: bool = True, width: int = 160) -> str:
    print_view(view, plain=plain, width=width)
    return capsys.readouterr().out


def ladder_text(capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]] | None = None) -> str:
    return shown(ladder_view(ROWS if rows is None else rows, plain=True), capsys)


def listing_text(capsys: pytest.CaptureFixture[str], listing: Listing = LISTING, *, with_options: bool = False) -> str:
    return shown(engines_view(listing, with_options=with_options, plain=True), capsys)


def line_of(text: str, words: str) -> str:
    return next(line for line in text.splitlines() if words in line)


# ---- candidates ----------------------------------------------------------------------------------------------------
def test_a_candidate_is_a_line_with_its_numbers_and_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(ladder_text(capsys), "openvino int8")
    assert re.split(r"\s{2,}", line.strip()) == [
        "*", "openvino int8", "2.5 s", "48.7 kB", "1.2e-02", "0.9987", "0.1234 ms", "8 214 /s"
    ]  # fmt: skip


def test_marks_tell_the_chosen_the_kept_and_the_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    text = ladder_text(capsys)
    marks = [line_of(text, name)[0] for name in ("openvino int8", "openvino fp32", "onnxruntime int8")]
    assert marks == ["*", "+", "-"]
    assert "* chosen   + keeps the score   - rejected" in text


@pytest.mark.parametrize(
    ("loss", "cell"),
    [
        (0.0042, "-0.0042"),
        (-0.01, "+0.0100"),
        pytest.param(0.0, "+0.0000"),
    ],
)
def test_a_score_without_a_ratio_is_told_by_its_difference(
    loss: float, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f" {cell} " in line_of(ladder_text(capsys, [KEPT | {"score_loss": loss}]), "openvino fp32")


def test_what_was_not_measured_is_empty_and_never_zero(capsys: pytest.CaptureFixture[str]) -> None:
    bare = {"backend": "openvino", "precision": "fp32", "ok": True, "built": True, "reason": None}
    assert line_of(ladder_text(capsys, [bare]), "openvino fp32").split() == ["+", "openvino", "fp32"]


def test_what_was_not_built_is_no_line_and_its_reason_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    text = ladder_text(capsys)
    assert "  tensorrt fp16: no NVIDIA GPU is visible" in text.splitlines()
    assert sum("tensorrt fp16" in line for line in text.splitlines()) == 1
    assert "  onnxruntime int8: parity with eager failed: a | b" in text.splitlines()


def test_one_that_may_be_used_has_no_reason_against_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "openvino fp32:" not in ladder_text(capsys, [KEPT | {"reason": "was slower"}])


def test_a_reason_with_brackets_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    row = NEVER_BUILT | {"reason": "input [1, 3] does not fit [bold]"}
    assert "tensorrt fp16: input [1, 3] does not fit [bold]" in ladder_text(capsys, [row])


def test_a_piped_ladder_has_neither_colour_nor_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    text = ladder_text(capsys)
    assert "\x1b" not in text
    assert text.isascii()
    assert not shown(ladder_view(ROWS, plain=False), capsys, plain=False).isascii()


def test_a_ladder_without_candidates_still_has_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert "score kept" in ladder_text(capsys, [])


def test_markdown_is_one_table_with_every_candidate_and_its_reason() -> None:
    lines = ladder_markdown(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert lines[0].endswith("| p50 | samples/s | why not |")
    assert lines[2] == "| * | openvino int8 | 2.5 s | 48.7 kB | 1.2e-02 | 0.9987 | 0.1234 ms | 8 214 /s |  |"
    assert lines[4].endswith(r"| parity with eager failed: a \| b |")
    assert lines[5] == "| - | tensorrt fp16 |  |  |  |  |  |  | no NVIDIA GPU is visible |"


def test_a_reason_of_two_lines_stays_in_its_cell() -> None:
    assert len(ladder_markdown([NEVER_BUILT | {"reason": "it failed\nin the middle"}]).splitlines()) == 3


# ---- backends ------------------------------------------------------------------------------------------------------
def test_devices_stand_above_the_backends(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listing_text(capsys).splitlines()
    assert lines[0] == "cpu   a CPU of 2026 with bf16, avx512"
    assert lines[1] == "gpus  none visible"
    bare = Listing(backends=(), cpu="a CPU", cpu_has=(), gpus=("H100 (compute capability 9.0)", "L4"))
    assert listing_text(capsys, bare).splitlines()[:2] == ["cpu   a CPU", "gpus  H100 (compute capability 9.0), L4"]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("openvino ", ["+", "openvino", "fp32 int8", "none", "openvino 2026.1, nncf 3.0"]),
        ("eager ", ["+", "eager", "fp32 (bf16)", "in place"]),
        ("tensorrt_rtx ", ["~", "tensorrt_rtx", "fp16", "builds here, runs on an NVIDIA GPU only; onnx 1.19"]),
        ("tensorrt ", ["-", "tensorrt", "torch_tensorrt is not installed"]),
    ],
)
def test_a_backend_is_a_line_that_says_what_it_can_do_or_why_it_cannot(
    name: str, cells: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.split(r"\s{2,}", line_of(listing_text(capsys), name).strip()) == cells


def test_the_marks_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert "+ usable   ~ builds here only   - not here   (in brackets: emulated" in listing_text(capsys)


def test_options_are_told_with_their_words_or_default_only_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "openvino.hint" not in listing_text(capsys)
    lines = listing_text(capsys, with_options=True).splitlines()
    assert "  openvino.hint: one of latency, throughput" in lines
    assert "  openvino.pinning: default False" in lines


def test_the_backends_of_this_machine_can_be_shown(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    settings = Settings(project=tmp_path, file=None, tracking_uri="sqlite:///x.db", default=None, pipelines={})
    listing = list_engines(settings)
    text = listing_text(capsys, listing, with_options=True)
    for backend in listing.backends:
        assert re.search(rf"^[-+~]\s+{backend.name}\s", text, flags=re.MULTILINE)
