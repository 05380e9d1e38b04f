"""plaster-ops: retrain, re-optimise, re-measure, compare, remember. See README.md."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = ["__version__", "alarms", "history", "record", "series"]


def __getattr__(name: str) -> Any:
    """The questions of a notebook (docs/notebooks.md), loaded when the first is asked."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("plaster_ops.notebook"), name)
