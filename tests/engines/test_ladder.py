import pytest

from plaster_ops.engines.ladder import candidates
from plaster_ops.errors import SettingsError
from plaster_ops.ports import Availability


def everything(_: str) -> Availability:
    return Availability(ok=True)


def without_openvino(name: str) -> Availability:
    return Availability(ok=name != "openvino", reason="openvino is not installed" if name == "openvino" else "")


def tried(*arguments: object) -> list[tuple[str, str]]:
    return [(row.backend, row.precision) for row in candidates(*arguments) if not row.refused]  # type: ignore[arg-type]


def test_backends_come_in_the_order_given_and_eager_last() -> None:
    assert tried(("inductor", "openvino"), ("fp32",), everything) == [
        ("inductor", "fp32"),
        ("openvino", "fp32"),
        ("eager", "fp32"),
    ]


def test_without_a_wish_openvino_is_taken_and_inductor_where_it_is_absent() -> None:
    assert tried((), ("fp32",), everything)[0] == ("openvino", "fp32")
    assert tried((), ("fp32",), without_openvino)[0] == ("inductor", "fp32")


def test_precisions_are_tried_in_their_order_and_refused_where_a_backend_lacks_them() -> None:
    rows = candidates(("openvino", "inductor"), ("bf16", "int8", "fp32"), everything)
    assert tried(("openvino", "inductor"), ("bf16", "int8", "fp32"), everything) == [
        ("openvino", "bf16"),
        ("openvino", "fp32"),
        ("inductor", "fp32"),
        ("eager", "fp32"),
    ]
    refused = {(row.backend, row.precision): row.reason for row in rows if row.refused}
    assert "not int8" in refused["openvino", "int8"]


def test_a_backend_without_code_in_this_release_is_a_row_with_its_reason() -> None:
    for name in ("tensorrt", "tensorrt_rtx", "onnxruntime"):
        first = candidates((name, "openvino"), ("fp32",), everything)[0]
        assert first.reason == f"backend {name} is not built into this release"


def test_an_unusable_backend_is_a_row_with_the_reason_of_its_probe() -> None:
    first = candidates(("openvino",), ("fp32",), without_openvino)[0]
    assert first.reason == "openvino is not installed"


def test_eager_stays_at_fp32_whatever_is_asked_for() -> None:
    assert tried(("openvino",), ("bf16",), everything) == [("openvino", "bf16"), ("eager", "fp32")]
    assert tried(("eager",), ("bf16",), everything) == [("eager", "fp32")]
    assert tried(("eager",), ("fp32",), everything) == [("eager", "fp32")]


def test_a_name_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(SettingsError, match="opnvino"):
        candidates(("opnvino",), ("fp32",), everything)
