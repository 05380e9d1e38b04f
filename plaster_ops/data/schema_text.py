"""An Arrow schema as text and back, for the ledger."""

import base64
from collections.abc import Mapping

import pyarrow as pa


def schema_to_text(schema: Mapping[str, pa.DataType]) -> str:
    """The serialised schema in base 64: every type that Arrow has, tensors too."""
    return base64.b64encode(pa.schema(list(schema.items())).serialize().to_pybytes()).decode()


def schema_from_text(text: str | None) -> dict[str, pa.DataType] | None:
    """What `schema_to_text` wrote; None for None."""
    if text is None:
        return None
    found = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    return {field.name: field.type for field in found}
