"""A compact record is carried as bytes with a version, and damage to it is told."""

import pytest

from plaster_ops.domain.compact import CompactKind, CompactRow, from_document, pack, to_document, unpack
from plaster_ops.errors import RecordsGone

CONTENT = {"n": 3, "name": "ü", "values": [1.5, None]}


def test_a_body_comes_back_as_it_was_packed() -> None:
    assert unpack(pack(CONTENT)) == CONTENT


def test_the_document_holds_the_same_rows() -> None:
    rows = (
        CompactRow(kind=CompactKind.TIMED, label="single", process=1, body=pack(CONTENT)),
        CompactRow(kind=CompactKind.RIGHT, label="rolling", process=0, body=pack({"n": 8})),
    )
    assert from_document(to_document(rows)) == rows


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "version nothing"),
        (b"\x07abc", "version 7"),
        (b"\x01abc", "damaged"),
        (pack(CONTENT)[:-4], "damaged"),
        (pack([1]), "no mapping"),  # type: ignore[arg-type]
    ],
)
def test_bytes_that_this_release_did_not_write_are_named(body: bytes, told: str) -> None:
    with pytest.raises(RecordsGone, match=told):
        unpack(body)


@pytest.mark.parametrize(
    "document",
    [None, {}, {"format": 2, "rows": []}, {"format": 1, "rows": [{"kind": "timed"}]}, {"format": 1, "rows": [3]}],
)
def test_a_document_of_another_format_is_named(document: object) -> None:
    with pytest.raises(RecordsGone, match=r"compact\.json"):
        from_document(document)


def test_a_body_that_is_no_base64_is_named_and_not_guessed_at() -> None:
    document = to_document([CompactRow(kind=CompactKind.TIMED, label="single", process=1, body=pack(CONTENT))])
    document["rows"][0]["body"] = "!" + document["rows"][0]["body"]
    with pytest.raises(RecordsGone, match=r"compact\.json"):
        from_document(document)


def test_not_a_number_is_not_packed() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        pack({"score": float("nan")})
