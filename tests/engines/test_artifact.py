import json
from pathlib import Path

import pytest

from plaster_ops.engines.artifact import (
    Manifest,
    appearing_whole,
    engine_bytes,
    hash_files,
    read_manifest,
    spec_from_json,
    spec_to_json,
    verify,
    write_manifest,
)
from plaster_ops.errors import ArtifactTampered, BuildFailed, ExitCode
from plaster_ops.ports import Coverage, EngineSpec, TensorSpec

SPEC = EngineSpec(
    backend="openvino",
    precision="fp32",
    device="cpu",
    inputs=(TensorSpec(name="tokens", dtype="int64", shape=(None, 3), ranges=((4, 9),)),),
    batch=(1, 8, 64),
    threads=2,
    options=(("pinning", True), ("slow_ratio", 0.2)),
)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    folder = tmp_path / "engine"
    with appearing_whole(folder) as draft:
        (draft / "model.bin").write_bytes(b"weights" * 100)
        (draft / "parts").mkdir()
        (draft / "parts" / "graph.xml").write_text("<graph/>")
        manifest = Manifest(
            spec=SPEC,
            files=hash_files(draft),
            versions=(("openvino", "2026.4"),),
            build_s=1.25,
            coverage=Coverage(
                ops_total=9, ops_in_engine=8, flops_ratio=0.5, engines=1, graph_breaks=0, fallback_ops=("Foo",)
            ),
            effective_precision="fp32",
            weights_digest="w",
            graph_digest="g",
            outputs=("value",),
            structure="[]",
        )
        write_manifest(draft, manifest)
    return folder


def test_an_untouched_folder_verifies_to_the_manifest_that_was_written(engine: Path) -> None:
    manifest = verify(engine)
    assert manifest == read_manifest(engine)
    assert manifest.spec == SPEC
    assert engine_bytes(manifest) == 700 + 8
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_a_spec_survives_json() -> None:
    assert spec_from_json(json.loads(json.dumps(spec_to_json(SPEC)))) == SPEC


def tampered(engine: Path) -> ArtifactTampered:
    with pytest.raises(ArtifactTampered) as caught:
        verify(engine)
    assert caught.value.exit_code is ExitCode.BUILD_FAILED
    assert "remove that folder" in caught.value.next_step
    return caught.value


def test_one_flipped_bit_is_found_with_both_digests(engine: Path) -> None:
    expected = {file.name: file.sha256 for file in read_manifest(engine).files}["model.bin"]
    content = bytearray((engine / "model.bin").read_bytes())
    content[350] ^= 1
    (engine / "model.bin").write_bytes(content)
    message = tampered(engine).message
    assert str(engine / "model.bin") in message
    assert expected in message
    assert message.count("sha256") == 1
    assert "found" in message


def test_a_truncated_file_is_found_with_its_sizes(engine: Path) -> None:
    (engine / "model.bin").write_bytes(b"weights")
    message = tampered(engine).message
    assert "(700 bytes)" in message
    assert "(7 bytes)" in message


def test_a_missing_file_is_named(engine: Path) -> None:
    (engine / "parts" / "graph.xml").unlink()
    assert "parts/graph.xml is missing" in tampered(engine).message


def test_an_added_file_is_named(engine: Path) -> None:
    (engine / "parts" / "more.so").write_bytes(b"")
    assert "parts/more.so is not part of the engine" in tampered(engine).message


def test_a_link_in_place_of_a_file_is_refused_even_if_its_content_is_right(engine: Path, tmp_path: Path) -> None:
    (engine / "model.bin").rename(tmp_path / "elsewhere")
    (engine / "model.bin").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in tampered(engine).message


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 99}'])
def test_a_damaged_manifest_is_refused(engine: Path, text: str) -> None:
    (engine / "manifest.json").write_text(text)
    assert "manifest.json" in tampered(engine).message


def test_a_folder_without_a_manifest_and_no_folder_at_all_are_refused(engine: Path, tmp_path: Path) -> None:
    assert "has no manifest.json" in tampered(tmp_path / "nowhere").message
    (engine / "manifest.json").unlink()
    assert "has no manifest.json" in tampered(engine).message


def test_the_digest_of_a_manifest_changes_with_any_of_its_facts(engine: Path) -> None:
    fields = read_manifest(engine).to_json()
    changed = [
        fields | {"weights_digest": "v"},
        fields | {"build_s": 1.5},
        fields | {"files": [{**fields["files"][0], "sha256": "0"}, *fields["files"][1:]]},
    ]
    digests = {Manifest.from_json(f).digest for f in (fields, *changed)}
    assert len(digests) == 4


def test_a_build_that_raises_leaves_the_earlier_engine_and_nothing_else(engine: Path) -> None:
    before = verify(engine)

    def build_half() -> None:
        with appearing_whole(engine) as draft:
            (draft / "half").write_bytes(b"x")
            raise BuildFailed("out of tactics")

    with pytest.raises(BuildFailed):
        build_half()
    assert verify(engine) == before
    assert [path.name for path in engine.parent.iterdir()] == ["engine"]


def test_a_second_build_takes_the_place_of_the_first(engine: Path) -> None:
    with appearing_whole(engine) as draft:
        (draft / "only").write_bytes(b"x")
        assert (engine / "model.bin").exists()
    assert [path.name for path in engine.iterdir()] == ["only"]
    assert [path.name for path in engine.parent.iterdir()] == ["engine"]


def test_a_backend_that_writes_nothing_fails(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="no file"):
        hash_files(tmp_path)
