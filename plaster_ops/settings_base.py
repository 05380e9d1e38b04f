"""What every section of plaster.toml shares."""

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from plaster_ops.domain.gates import GATE_METRICS

LIST, FILLED = Field(strict=False), Field(strict=False, min_length=1)
"""TOML has lists and no tuples; what stands in them is still held to its own type."""


class Section(BaseModel):
    """Values are of the type that TOML gave them: no text is a number, no truth value a count, nothing is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def nearest(word: str, known: Iterable[str] = GATE_METRICS) -> str:
    """A hint at the known word that is most like this one; empty where none is."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
