import pytest

from plaster_ops.engines.ladder import (
    Candidate,
    Known,
    candidates,
    check_candidates,
    engine_device,
    needs_calibration,
    stack,
)
from plaster_ops.errors import SettingsError
from plaster_ops.ports import Availability, Capabilities

ABLE = {
    "eager": Capabilities(precisions=("fp32", "bf16"), emulated=("bf16",)),
    "openvino": Capabilities(precisions=("fp32", "bf16", "int8"), options={"pinning": False}),
    "inductor": Capabilities(precisions=("fp32", "bf16"), emulated=("bf16",), devices=("cpu", "cuda")),
    "tensorrt": Capabilities(precisions=("fp32", "fp16"), devices=("cuda",)),
    "tensorrt_rtx": Capabilities(precisions=("fp32",), devices=("cuda",), runs_here=False),
}


def ask(name: str) -> Known:
    if ":" in name:
        return Known(Availability(ok=True), None)
    if name not in ABLE:
        raise SettingsError(f"unknown engine backend {name!r}")
    absent = "no NVIDIA GPU is visible" if name == "tensorrt" else ""
    return Known(Availability(ok=not absent, reason=absent, versions=((name, "1.0"),)), ABLE[name])


def rows(*backends: str, precisions: tuple[str, ...] = ("fp32",), **more: str) -> dict[str, Candidate]:
    return {row.label: row for row in candidates(backends, precisions, ask=ask, **more)}  # type: ignore[arg-type]


def test_backends_come_in_the_order_given_at_every_precision_and_eager_is_the_last_resort() -> None:
    found = rows("inductor", "openvino", precisions=("int8", "fp32"))
    assert list(found) == ["inductor-int8", "inductor-fp32", "openvino-int8", "openvino-fp32", "eager-fp32"]
    assert [label for label, row in found.items() if row.last_resort] == ["eager-fp32"]


def test_eager_that_is_named_is_a_candidate_like_any_other() -> None:
    assert not rows("eager")["eager-fp32"].last_resort
    assert rows("eager", precisions=("int8",))["eager-fp32"].last_resort


def test_a_precision_that_a_backend_lacks_is_a_row_with_what_it_has() -> None:
    assert rows("inductor", precisions=("int8",))["inductor-int8"].reason == "inductor builds fp32, bf16 here, not int8"


def test_an_unusable_backend_is_a_row_with_the_reason_of_its_probe() -> None:
    assert rows("tensorrt")["tensorrt-fp32"].reason == "no NVIDIA GPU is visible"


def test_an_emulated_precision_is_left_out_with_the_cpu_named() -> None:
    reason = rows("inductor", precisions=("bf16",))["inductor-bf16"].reason
    assert "has no bf16 arithmetic: inductor would emulate it" in reason
    assert not rows("inductor", precisions=("bf16",), device="cuda:0")["inductor-bf16"].reason


def test_a_backend_for_another_device_is_left_out() -> None:
    assert rows("openvino", device="cuda:0")["openvino-fp32"].reason == (
        "openvino is for cpu, engines of this pipeline run on cuda:0"
    )


def test_what_builds_here_and_does_not_run_is_only_built() -> None:
    row = rows("tensorrt_rtx")["tensorrt_rtx-fp32"]
    assert (row.only_built, row.reason) == (True, "")


def test_without_inputs_to_calibrate_with_int8_is_left_out_with_the_reason() -> None:
    row = rows("openvino", precisions=("int8",), no_calibration="all 9 training inputs are in an evaluation set")
    assert row["openvino-int8"].reason == (
        "int8 has nothing to be calibrated with: all 9 training inputs are in an evaluation set"
    )


def test_code_of_the_users_own_is_tried_unasked() -> None:
    row = rows("mine.engine:Backend", precisions=("int8",))["mine.engine.Backend-int8"]
    assert (row.backend, row.reason) == ("mine.engine:Backend", "")


def test_a_name_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(SettingsError, match="opnvino"):
        candidates(("opnvino",), ("fp32",))


def test_options_must_reach_a_backend_that_takes_them() -> None:
    check_candidates(("openvino", "mine:Backend"), {"openvino.pinning": True, "mine:Backend.speed": 3}, ask)
    check_candidates(("openvino",), {"pinning": True}, ask)
    for options, words in (
        ({"opnvino.pinning": True}, "nearest is 'openvino'"),
        ({"openvino.pining": True}, "nearest is 'pinning'"),
        ({"pinning": True, "speed": 1}, "takes pinning"),
        ({"openvino.pinning": 1}, "give a bool"),
    ):
        with pytest.raises(SettingsError) as caught:
            check_candidates(("openvino",), options, ask)
        assert words in caught.value.next_step


def test_the_stack_holds_versions_what_is_absent_and_the_machine() -> None:
    found = stack(("openvino", "tensorrt"), "cpu", ask)
    assert found["openvino.openvino"] == "1.0"
    assert found["tensorrt"] == "absent"
    assert found["machine"].startswith("cpu ")
    assert found["device"] == "cpu"


def test_inputs_are_put_aside_only_where_a_candidate_quantises() -> None:
    assert needs_calibration(("openvino",), ("fp32", "int8"), ask)
    assert not needs_calibration(("openvino",), ("fp32", "bf16"), ask)
    assert not needs_calibration(("inductor",), ("int8",), ask)
    assert needs_calibration(("mine:Backend",), ("int8",), ask)
    assert not needs_calibration(("mine:Backend",), ("fp32",), ask)


def test_the_device_is_a_gpu_only_where_one_is_seen_and_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from plaster_ops.engines import ladder

    assert engine_device("cpu", ("tensorrt",), ask) == "cpu"
    monkeypatch.setattr(ladder, "visible_gpus", tuple)
    assert engine_device("auto", ("tensorrt",), ask) == "cpu"
    with pytest.raises(SettingsError, match="no NVIDIA GPU is visible"):
        engine_device("cuda", ("tensorrt",), ask)
    monkeypatch.setattr(ladder, "visible_gpus", lambda: ("a GPU",))
    monkeypatch.setattr(ladder, "version", lambda _: "2.13.0+cpu")
    with pytest.raises(SettingsError, match="a CPU build"):
        engine_device("cuda", ("tensorrt",), ask)
    monkeypatch.setattr(ladder, "version", lambda _: "2.13.0")
    assert engine_device("auto", ("tensorrt",), ask) == "cuda:0"
    assert engine_device("auto", ("openvino",), ask) == "cpu"
