"""Why a fit ends: the target, patience, time, epochs; and that patience is of one fit and survives its resume."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import UsageError
from plaster_ops.training.resume import newest_complete
from plaster_ops.training.worker import run_fit
from tests.training.conftest import PROJECT, SpecMaker

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice about loaders and loggers


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(PROJECT), *sys.path])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    return importlib.import_module("parts")


def train(pipeline: Any, spec: Any, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return run_fit(pipeline, spec, folder=folder, emit=lambda _event: None)


def ended(result: dict[str, Any]) -> tuple[str, int]:
    return result["stopped"], result["epochs"]


@pytest.mark.parametrize(
    ("logged", "changes", "how"),
    [
        ((0.5, 0.6, 0.6, 0.6), {"patience": 2}, ("patience", 4)),
        ((0.5, 0.51, 0.52, 0.53), {"patience": 2, "min_delta": 0.05}, ("patience", 3)),
        ((0.5, 0.4, 0.3, 0.3), {"patience": 2, "target_higher_is_better": False}, ("patience", 5)),
        ((0.5, 0.6, 0.7), {"patience": 3}, ("max_epochs", 5)),
        ((0.5, 0.75), {"patience": 1, "target_score": 0.75}, ("target", 2)),
        ((0.5, 0.5), {"patience": 1, "target_score": 0.9}, ("patience", 2)),
        ((0.5,), {"max_s": 0.001}, ("max_time", 1)),
        ((0.5,), {"trainer": {"max_steps": 9}}, ("max_steps", 2)),
    ],
)
def test_a_fit_says_what_ended_it(
    parts: Any,
    make_spec: SpecMaker,
    tmp_path: Path,
    logged: tuple[float, ...],
    changes: dict[str, Any],
    how: tuple[str, int],
) -> None:
    result = train(parts.TwoParts(logged), make_spec(max_epochs=5, **changes), tmp_path / "rank0")
    assert ended(result) == how


def test_patience_of_a_metric_that_is_not_logged_is_an_error(parts: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.patience watches 'val_score', which the module does not log"):
        train(parts.TwoParts(), make_spec(patience=2), tmp_path / "rank0")


def test_a_resumed_fit_goes_on_waiting_where_it_was(parts: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    """The best was in the first epoch: patience 3 ends after the fourth, wherever the fit was cut."""
    logged, spec = (0.9, 0.1), make_spec(max_epochs=2, patience=3)
    train(parts.TwoParts(logged), spec, tmp_path / "rank0")
    longer = replace(spec, max_epochs=9)
    for sidecar in Path(spec.checkpoint_folder).glob("*.json"):
        sidecar.write_text(sidecar.read_text().replace(spec.fit_id(), longer.fit_id()))
    newest = newest_complete(Path(spec.checkpoint_folder), longer.fit_id())
    assert newest is not None
    result = train(parts.TwoParts(logged), replace(longer, resume_from=str(newest.path)), tmp_path / "again")
    assert (result["resumed_from_epoch"], *ended(result)) == (2, "patience", 4)


def test_the_best_of_one_retrain_is_unknown_to_the_next(parts: Any, make_spec: SpecMaker, tmp_path: Path) -> None:
    """The first reached 0.9; the next, on harder data, starts warm, gets better every epoch, and is not stopped."""
    first = train(parts.TwoParts((0.9,)), make_spec(max_epochs=1, patience=2), tmp_path / "rank0")
    spec = make_spec(
        max_epochs=4,
        patience=2,
        start="warm",
        warm_weights=first["weights_file"],
        checkpoint_folder=str(tmp_path / "checkpoints-next"),
    )
    result = train(parts.TwoParts((0.1, 0.2, 0.3, 0.4)), spec, tmp_path / "next")
    assert ended(result) == ("max_epochs", 4)
