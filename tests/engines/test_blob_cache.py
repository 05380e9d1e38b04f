"""Kept blobs are used whole or not at all, are few, and are kept only where somebody said where."""

import json
import os
from pathlib import Path

import pytest

from plaster_ops.engines.blob_cache import blob_key, cache_folder, file_digests, keep_blob, read_blob


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def keep_aged(folder: Path, key: str, age_s: int) -> None:
    """Keeps a blob that was last used `age_s` before the others."""
    keep_blob(folder, key, key.encode())
    os.utime(folder / f"{key}.blob", (1_000_000_000 - age_s,) * 2)


def forbid(*_: object, **__: object) -> None:
    raise PermissionError("read-only file system")


# ---- where ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_kept_where_nobody_said_where(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLASTER_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("PLASTER_CACHE", value)
    assert cache_folder("openvino") is None
    keep_blob(cache_folder("openvino"), "key", b"compiled")
    assert read_blob(cache_folder("openvino"), "key") is None
    assert names(tmp_path) == []


def test_every_backend_has_a_folder_of_its_own_that_a_change_of_directory_does_not_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLASTER_CACHE", "cache")
    assert cache_folder("openvino") == tmp_path / "cache" / "openvino"
    assert cache_folder("openvino") != cache_folder("onnxruntime")


# ---- under which key ------------------------------------------------------------------------------------------------
def test_any_part_that_changes_is_another_key() -> None:
    parts = {"files": {"model.xml": "aa"}, "threads": 1, "cpu": "c", "only": None}
    changed = (
        {"files": {"model.xml": "ab"}},
        {"files": {"model.bin": "aa"}},
        {"files": None},
        {"threads": 2},
        {"threads": "1"},
        {"cpu": "d"},
        {"only": 1},
        {"more": 1},
    )
    keys = [blob_key(**parts | change) for change in changed]
    assert len({blob_key(**parts), *keys}) == 1 + len(changed)


def test_the_order_of_the_parts_is_none_of_them() -> None:
    assert blob_key(a=1, b={"c": 2, "d": 3}) == blob_key(b={"d": 3, "c": 2}, a=1)
    assert len(blob_key()) == 64


def test_what_is_kept_is_read_under_its_own_key_alone(tmp_path: Path) -> None:
    keep_blob(tmp_path / "new" / "folder", "one", b"first")
    keep_blob(tmp_path / "new" / "folder", "two", b"")
    assert read_blob(tmp_path / "new" / "folder", "one") == b"first"
    assert read_blob(tmp_path / "new" / "folder", "two") == b""
    assert read_blob(tmp_path / "new" / "folder", "three") is None
    assert read_blob(tmp_path, "one") is None


def test_a_second_blob_of_a_key_takes_the_place_of_the_first(tmp_path: Path) -> None:
    keep_blob(tmp_path, "key", b"first")
    keep_blob(tmp_path, "key", b"second")
    assert read_blob(tmp_path, "key") == b"second"
    assert names(tmp_path) == ["key.blob", "key.sha256"]


# ---- whole or not at all --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "content", [b"compilee", b"compile", b"compiled ", b""], ids=["changed", "cut", "longer", "empty"]
)
def test_a_blob_that_is_not_as_it_was_written_is_never_used_and_removed(content: bytes, tmp_path: Path) -> None:
    keep_blob(tmp_path, "key", b"compiled")
    (tmp_path / "key.blob").write_bytes(content)
    assert read_blob(tmp_path, "key") is None
    assert names(tmp_path) == []
    keep_blob(tmp_path, "key", b"compiled")
    assert read_blob(tmp_path, "key") == b"compiled"


@pytest.mark.parametrize("digest", [b"", b"0" * 64, "ü".encode()], ids=["empty", "another", "no text"])
def test_a_digest_that_does_not_fit_is_as_bad_as_a_blob_that_does_not(digest: bytes, tmp_path: Path) -> None:
    keep_blob(tmp_path, "key", b"compiled")
    (tmp_path / "key.sha256").write_bytes(digest)
    assert read_blob(tmp_path, "key") is None
    keep_blob(tmp_path, "key", b"anew")
    assert read_blob(tmp_path, "key") == b"anew"


@pytest.mark.parametrize("missing", ["key.blob", "key.sha256"])
def test_half_of_a_pair_is_nothing(missing: str, tmp_path: Path) -> None:
    keep_blob(tmp_path, "key", b"compiled")
    (tmp_path / missing).unlink()
    assert read_blob(tmp_path, "key") is None


def test_a_blob_of_another_key_put_in_its_place_is_not_used(tmp_path: Path) -> None:
    keep_blob(tmp_path, "mine", b"mine")
    keep_blob(tmp_path, "other", b"other")
    (tmp_path / "other.blob").replace(tmp_path / "mine.blob")
    assert read_blob(tmp_path, "mine") is None


# ---- few ------------------------------------------------------------------------------------------------------------
def test_of_nine_the_one_that_was_used_longest_ago_goes_with_its_digest(tmp_path: Path) -> None:
    for number in range(8):
        keep_aged(tmp_path, f"k{number}", age_s=100 - number)
    keep_blob(tmp_path, "new", b"new")
    kept = ["new", *(f"k{number}" for number in range(1, 8))]
    assert names(tmp_path) == sorted(f"{key}.{part}" for key in kept for part in ("blob", "sha256"))


def test_one_that_is_read_counts_as_used(tmp_path: Path) -> None:
    for number in range(8):
        keep_aged(tmp_path, f"k{number}", age_s=100 - number)
    assert read_blob(tmp_path, "k0") == b"k0"
    keep_blob(tmp_path, "new", b"new")
    assert read_blob(tmp_path, "k0") == b"k0"
    assert read_blob(tmp_path, "k1") is None
    assert len(names(tmp_path)) == 16


# ---- no error -------------------------------------------------------------------------------------------------------
def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    keep_blob(tmp_path / "file" / "openvino", "key", b"compiled")
    assert read_blob(tmp_path / "file" / "openvino", "key") is None
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_blob(tmp_path, "old", b"compiled")
    monkeypatch.setattr("tempfile.mkstemp", forbid)
    keep_blob(tmp_path, "new", b"compiled")
    assert read_blob(tmp_path, "new") is None
    monkeypatch.setattr("os.utime", forbid)
    assert read_blob(tmp_path, "old") == b"compiled"


def test_a_spoilt_blob_that_cannot_be_removed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_blob(tmp_path, "key", b"compiled")
    (tmp_path / "key.blob").write_bytes(b"spoilt")
    monkeypatch.setattr(Path, "unlink", forbid)
    assert read_blob(tmp_path, "key") is None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", forbid)
    keep_blob(tmp_path, "key", b"compiled")
    assert names(tmp_path) == []


# ---- the folder's own digests ---------------------------------------------------------------------------------------
def test_the_digests_of_a_folder_are_those_of_its_manifest(tmp_path: Path) -> None:
    files = [{"name": "model.xml", "sha256": "aa", "bytes": 1}, {"name": "model.bin", "sha256": "bb", "bytes": 2}]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    assert file_digests(tmp_path) == {"model.xml": "aa", "model.bin": "bb"}


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"files": [1]}', '{"files": [{"name": "model.xml"}]}'])
def test_a_folder_without_a_whole_manifest_has_none(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    assert file_digests(tmp_path) is None
