"""From a file to rows: Parquet, CSV (gzip too), NumPy, images. What cannot be read is `Broken` or `Rejected`.

A format is told by the end of the name unless the source names one.
"""

import csv
import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from plaster_ops.data.listing import Folder
from plaster_ops.data.rules import Broken, Rejected, Unreadable, shown

SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz"),
    "numpy": (".npz", ".npy"),
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
}
Schema = Mapping[str, pa.DataType]
Ending = Literal["whole", "as_is", "cut"]
"""What of a last line of CSV without an end: it is refused, taken, or left out."""


def format_of(path: str, named: str | None) -> str | None:
    """The format of a file; None for one that is none of ours."""
    if named is not None:
        return named
    name = PurePosixPath(path).name.lower()
    return next((kind for kind, ends in SUFFIXES.items() if name.endswith(ends)), None)


def read_rows(folder: Folder, path: str, kind: str, schema: Schema | None, ending: Ending = "whole") -> pa.Table:
    """All rows of a file, as its format has them; types of `schema` are used where a format has none of its own.

    Raises `Broken`, `Rejected`.
    """
    readers: Mapping[str, Callable[..., pa.Table]] = {
        "parquet": _parquet,
        "csv": _csv,
        "numpy": _numpy,
        "image": _image,
    }
    try:
        return readers[kind](folder, path, schema, ending)
    except FileNotFoundError:
        raise Broken("it is gone") from None
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror}") from error


def _is_of_the_system(error: BaseException) -> bool:
    """Whether the operating system refused (rights, a disk, a network), rather than a library that read the bytes."""
    return isinstance(error, OSError) and error.errno is not None


def _parquet(folder: Folder, path: str, schema: Schema | None, ending: Ending) -> pa.Table:
    del ending
    try:
        source = folder.full(path) if folder.is_local else folder.open(path)
        with pq.ParquetFile(source) as file:
            names = None if schema is None else [name for name in file.schema_arrow.names if name in schema]
            return file.read(columns=names if schema is not None and set(names or ()) == set(schema) else None)
    except (pa.ArrowException, OSError) as error:
        if _is_of_the_system(error):
            raise
        raise Broken(f"it is no whole Parquet file: {_line(error)}") from error


def _csv(folder: Folder, path: str, schema: Schema | None, ending: Ending) -> pa.Table:
    content = _content(folder, path)
    if not content.strip() and ending != "cut":
        return pa.table({})
    cut = content.rfind(b"\n") + 1
    if ending == "cut":
        content = content[:cut]
    else:
        _check_ending(content, has_end=cut == len(content), as_is=ending == "as_is")
    if not content:
        raise Broken("it has no whole line")
    _check_text(content)
    content = content if content.endswith(b"\n") else content + b"\n"
    types = {name: kind for name, kind in (schema or {}).items() if not pa.types.is_null(kind)}
    try:
        return _parse(content, types, threads=len(content) > 1_000_000)
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise Rejected(f"it is no CSV: {_line(error)}") from error
    names = _parse(content, {}, threads=True).column_names
    return _parse(content, dict.fromkeys(names, pa.string()), threads=True)


def _content(folder: Folder, path: str) -> bytes:
    with folder.open(path) as file:
        content = file.read()
    if path.lower().endswith(".gz"):
        try:
            return gzip.decompress(content)
        except (EOFError, OSError) as error:
            raise Broken(f"it is no whole gzip file: {_line(error)}") from error
    return content


class CutShort(Broken):
    """The last line has all its columns and no end: a whole file without a last newline looks the same."""


def _check_ending(content: bytes, *, has_end: bool, as_is: bool) -> None:
    """Raises `CutShort` where a last line without an end may be whole (not with `as_is`), `Broken` where it is not,
    and where a quote is left open: a cut there may look like the end of a line."""
    if has_end and content.count(b'"') % 2 == 0:
        return
    last, cells, wanted, is_open = _last_record(content)
    told = shown(content[content.rstrip(b"\n").rfind(b"\n") + 1 :].decode(errors="replace"))
    if is_open:
        raise Broken(f"a quote is still open at its end, in row {last}: {told!r}")
    if has_end or as_is:
        return
    where = f"its last line, row {last}," if last > 0 else "its header"
    if cells == wanted:
        raise CutShort(f"{where} has no end: {told!r}")
    raise Broken(f"{where} is cut short: {told!r}")


def _last_record(content: bytes) -> tuple[int, int, int, bool]:
    """Number of the last row (0: the header), its cells, those of the header, and whether a quote is open there."""
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", errors="replace", newline="")
    row, cells, wanted = -1, 0, 0
    try:
        for line in csv.reader(text, strict=True):
            if line:
                row, cells, wanted = row + 1, len(line), wanted or len(line)
    except csv.Error as error:
        return row + 1, wanted, wanted, "unexpected end" in str(error)
    return row, cells, wanted, False


def _check_text(content: bytes) -> None:
    """Raises `Rejected` for the first byte that is no UTF-8."""
    whole = pa.py_buffer(np.array([0, len(content)], dtype=np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, whole, pa.py_buffer(content)]).validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        return
    before = content[: _bad_byte(content)]
    row, _, _, _ = _last_record(before + b"?")
    found = f"byte {content[len(before)]:#04x} is no UTF-8"
    raise Rejected(f"{found}: save the file as UTF-8", row=row or None, value=found) from None


def _bad_byte(content: bytes) -> int:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(content) - 1  # pragma: no cover - Arrow and Python judge alike


def _parse(content: bytes, types: Schema, *, threads: bool) -> pa.Table:
    wrong: list[Any] = []

    def keep(row: Any) -> str:
        wrong.append(row)
        return "skip"

    table = pacsv.read_csv(
        pa.BufferReader(content),
        read_options=pacsv.ReadOptions(use_threads=threads),
        parse_options=pacsv.ParseOptions(invalid_row_handler=keep),
        convert_options=pacsv.ConvertOptions(column_types=dict(types), strings_can_be_null=True),
    )
    if wrong:
        if threads:
            return _parse(content, types, threads=False)
        row = wrong[0]
        reason = f"a line has {row.actual_columns} cells, not {row.expected_columns}: {shown(row.text)!r}"
        raise Rejected(reason, row=None if row.number is None else row.number - 1)
    return table


def _numpy(folder: Folder, path: str, schema: Schema | None, ending: Ending) -> pa.Table:
    del schema, ending
    try:
        with folder.open(path) as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else _plain(loaded)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if _is_of_the_system(error):
            raise
        if "allow_pickle" in str(error):
            raise Rejected("it holds pickled objects, which are never loaded") from error
        raise Broken(f"it is no whole NumPy file: {_line(error)}") from error
    lengths = {name: array.shape[0] if array.ndim else -1 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or -1 in lengths.values():
        raise Rejected(f"its arrays have different lengths: {', '.join(f'{k} {v}' for k, v in lengths.items())}")
    if not any(lengths.values()):
        return pa.table({})
    return pa.table({name: _column(name, array) for name, array in arrays.items()})


def _plain(array: Any) -> dict[str, Any]:
    """The fields of a structured array; any other array is the column `data`."""
    return {name: array[name] for name in array.dtype.names} if array.dtype.names else {"data": array}


def _column(name: str, array: Any) -> pa.Array:
    try:
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.ndim == 1:
            return pa.array(array)
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise Rejected(f"an array of type {array.dtype} cannot be used: {_line(error)}", column=name) from error


def _image(folder: Folder, path: str, schema: Schema | None, ending: Ending) -> pa.Table:
    """One row: `path`, and `label`, the name of the folder it lies in. Its pixels were decoded once and let go."""
    del schema, ending
    from PIL import Image, UnidentifiedImageError

    try:
        with folder.open(path) as file, Image.open(file) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise Broken("it is no whole image of a kind that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise Rejected(_line(error)) from error
    except (OSError, SyntaxError, ValueError) as error:
        if _is_of_the_system(error):
            raise
        raise Broken(f"it is no whole image: {_line(error)}") from error
    return image_row(path)


def image_row(path: str) -> pa.Table:
    """The row of an image."""
    return pa.table({"path": [path], "label": [PurePosixPath(path).parent.name]})


def image_digest(folder: Folder, path: str) -> str:
    """SHA-256 of an image's bytes and its label: one picture under two labels is two rows."""
    try:
        with folder.open(path) as file:
            return hashlib.sha256(PurePosixPath(path).parent.name.encode() + b"/" + file.read()).hexdigest()
    except FileNotFoundError:
        raise Broken("it is gone") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
