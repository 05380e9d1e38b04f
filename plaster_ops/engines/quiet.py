"""Silence around foreign code: exporters and converters warn about their own internals, which no user can change."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def foreign_warnings_ignored() -> Iterator[None]:
    """Python warnings, and torch's log lines below ERROR, are dropped inside the block; errors still raise."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
