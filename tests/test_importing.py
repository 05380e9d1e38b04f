"""Nothing is collected during a first import, and everything is as before afterwards."""

import gc
import sys
import types
from collections.abc import Iterator

import pytest

from plaster_ops.importing import uncollected

NAME = "_imported_for_the_first_time"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()
    sys.modules.pop(NAME, None)


def test_nothing_is_collected_during_a_first_import_and_what_it_made_is_not_looked_through_again() -> None:
    gc.unfreeze()
    with uncollected(NAME):
        assert not gc.isenabled()
        made = [[] for _ in range(10_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(made)


def test_a_process_that_has_the_module_collects_as_ever() -> None:
    gc.unfreeze()
    sys.modules[NAME] = types.ModuleType(NAME)
    with uncollected(NAME):
        assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_an_import_that_fails_leaves_the_collector_on_and_nothing_aside() -> None:
    gc.unfreeze()
    with pytest.raises(ImportError), uncollected(NAME):
        raise ImportError(NAME)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_who_turned_the_collector_off_finds_it_off() -> None:
    gc.disable()
    with uncollected(NAME):
        pass
    assert not gc.isenabled()
