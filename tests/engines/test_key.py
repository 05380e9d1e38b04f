"""The key of an engine: what differs in anything that its files depend on never shares one."""

from dataclasses import replace

import pytest

from plaster_ops.engines.cpu import read_cpu
from plaster_ops.engines.graph import all_weights, graph_digest, weights_digest
from plaster_ops.engines.key import changes, engine_key, machine_of
from tests.engines.conftest import export_model

VERSIONS = (("openvino", "2026.4.1"), ("torch", "2.13.0"))
SPEC = export_model("pooled").spec("openvino", pinning=True)


def key_of(model: str = "pooled", **changed: object) -> str:
    return engine_key(graph_digest(export_model(model).program), replace(SPEC, **changed), VERSIONS, "cpu 1")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["strided", "sloped", "steep", "shifted", "conv", "inverse"])
def test_graphs_that_differ_in_a_stride_a_slope_a_number_or_a_width_have_other_keys(model: str) -> None:
    assert key_of(model) != key_of()


def test_slopes_that_differ_among_themselves_have_other_keys() -> None:
    assert key_of("sloped") != key_of("steep")


def test_weights_are_not_in_the_key_and_are_in_the_digest_of_weights() -> None:
    pooled, moved = export_model("pooled").program, export_model("moved").program
    assert key_of("moved") == key_of()
    assert weights_digest(all_weights(pooled)) != weights_digest(all_weights(moved))


@pytest.mark.parametrize(
    "changed",
    [
        {"calibration": "other inputs"},
        {"threads": 2},
        {"precision": "int8"},
        {"backend": "onnxruntime"},
        {"device": "cuda:0"},
        {"batch": (1, 4, 16)},
        {"options": (("pinning", False),)},
        {"options": ()},
    ],
)
def test_anything_that_an_engine_is_built_as_changes_its_key(changed: dict[str, object]) -> None:
    assert key_of(**changed) != key_of()


def test_a_library_of_another_version_and_another_machine_change_the_key() -> None:
    graph = graph_digest(export_model("pooled").program)
    known = engine_key(graph, SPEC, VERSIONS, "cpu 1")
    assert engine_key(graph, SPEC, (("openvino", "2026.4.2"), VERSIONS[1]), "cpu 1") != known
    assert engine_key(graph, SPEC, VERSIONS[:1], "cpu 1") != known
    assert engine_key(graph, SPEC, VERSIONS, "cpu 2") != known
    assert engine_key(graph, SPEC, VERSIONS, "cpu 1") == known


def test_two_cpus_with_other_instructions_are_other_machines(tmp_path) -> None:  # type: ignore[no-untyped-def]
    digests = set()
    for number, flags in enumerate(("fma avx2 ht", "fma avx2 avx512f", "ht fma avx2 arat")):
        file = tmp_path / str(number)
        file.write_text(f"model name\t: AMD EPYC\nflags\t\t: {flags}\n")
        digests.add(read_cpu(file).digest)
    assert len(digests) == 2
    assert machine_of("cpu").startswith("cpu ")
    assert machine_of("cuda:99") == "cuda:99 unknown"


def test_what_changed_is_told_by_name() -> None:
    assert changes({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == ["a 1 -> none", "b 2 -> 3", "c none -> 4"]
    assert changes({"a": "1"}, {"a": "1"}) == []
