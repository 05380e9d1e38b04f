"""Large imports without the garbage collector, which finds nothing in them and looks all the more often."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(module: str) -> Iterator[None]:
    """Where that module is not imported yet, nothing is collected inside, and what was made there never looked through.

    Modules stay until the process ends, and what they hold fills generation after generation: torch, Lightning and
    mlflow spend up to a fifth of their import on walking it (docs/benchmarks.md). A process that imported the
    module before, such as a service that opens a store again and again, collects as ever.
    """
    if module in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
