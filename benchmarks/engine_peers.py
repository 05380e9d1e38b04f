"""The peers of `benchmarks/engines.py`: what people use without plaster-ops, made as their own pages say."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine_rivals import Rival, benchmark_app, start_rival

from plaster_ops.engines.cpu import this_cpu


def _torch_rivals(name: str, inputs: Path, threads: int) -> list[Rival]:
    """Eager and compiled, in fp32, and by autocast in bf16 where the CPU has it."""
    rivals = []
    for kind in ("eager", "compile", *(("eager-bf16", "compile-bf16") if this_cpu().has_bf16 else ())):
        turn, close, ready_s = start_rival(kind, name, inputs, threads)
        label, _, precision = kind.replace("compile", "torch.compile").partition("-")
        build_s = None if label == "eager" else ready_s
        rivals.append(Rival(label, precision or "fp32", turn, build_s, close=close))
    return rivals


def make_peers(name: str, work: Path, inputs: Path, threads: int) -> list[Rival]:
    sys.path.insert(0, str(work))
    os.environ["OPENVINO_TELEMETRY_DISABLED"] = "1"
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import engine_models
    import nncf
    import onnx
    import openvino as ov
    import torch
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    model = engine_models.Served(name).eval()
    calibration = [row.unsqueeze(0) for row in engine_models.KINDS[name][1](engine_models.pictures(1, False)[0][:300])]
    shape = tuple(calibration[0].shape[1:])
    example = torch.cat(calibration[:4])
    batch = torch.export.Dim("batch", min=1, max=32)
    rivals = _torch_rivals(name, inputs, threads)

    def timed(what: Callable[[], object]) -> float:
        began_s = time.monotonic()
        what()
        return time.monotonic() - began_s

    folder = work / f"peers-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    made: list[Any] = []

    def convert() -> None:
        with torch.no_grad():
            exported = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
        made.append(ov.convert_model(exported))
        ov.save_model(made[0], folder / "fp32.xml", compress_to_fp16=False)

    def quantise() -> None:
        quantised = nncf.quantize(made[0], nncf.Dataset([row.numpy() for row in calibration]))
        ov.save_model(quantised, folder / "int8.xml", compress_to_fp16=False)

    for precision, make in (("fp32", convert), ("int8", quantise)):
        seconds = timed(make)
        input_name = made[0].inputs[0].get_any_name()
        turn = benchmark_app(folder / f"{precision}.xml", input_name, shape, threads)
        rivals.append(Rival("benchmark_app", precision, turn, seconds))
    if this_cpu().has_bf16 and this_cpu().has_avx512:
        turn = benchmark_app(folder / "fp32.xml", input_name, shape, threads, "bf16")
        rivals.append(Rival("benchmark_app", "bf16", turn, None))

    def export() -> None:
        torch.onnx.export(
            model, (example,), folder / "fp32.onnx", dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False
        )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            name = onnx.load(folder / "fp32.onnx").graph.input[0].name
            self._rows = iter([{name: row.numpy()} for row in calibration])

        def get_next(self) -> Any:
            return next(self._rows, None)

    for precision, make in (
        ("fp32", export),
        ("int8", lambda: quantize_static(folder / "fp32.onnx", folder / "int8.onnx", Reader())),
    ):
        seconds = timed(make)
        turn, close, _ = start_rival("onnx", folder / f"{precision}.onnx", inputs, threads)
        rivals.append(Rival("ONNX Runtime, plain", precision, turn, seconds, close=close))
    return rivals
