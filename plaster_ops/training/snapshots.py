# ruff: noqa: ARG002  (Lightning fixes the signatures of its hooks)
"""Time-stamped weights of a fit under way, to be scored once it is over. Runs in workers only.

Scoring during the fit would be part of what is timed. A snapshot is one safetensors file whose header says when its
weights were made; it counts only under its final name, so a killed process leaves none by halves.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plaster_ops.training.fitlog import FitLog
from plaster_ops.training.messages import FitSpec
from plaster_ops.training.weights import plain_state

LARGEST_BYTES = 2 * 1024**3
_OF_FREE = 0.5
_POINT = "plaster.point"


class Snapshots:
    """Keeps the weights of every n-th epoch, `spec.snapshots` files at most; see `callbacks.bind`.

    Past that many every second one goes and only every second epoch is kept from then on, so the spacing stays even.
    With `spec.snapshot_share` an epoch is passed over where writing would take more than that share of the fit's time.
    `seconds`: spent on it so far in this process; `reason`: why there are no more, where something kept them out.
    """

    def __init__(self, log: FitLog, spec: FitSpec, now_s: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self._log, self._most, self._share = log, spec.snapshots, spec.snapshot_share
        self._folder = Path(str(spec.snapshot_folder))
        self._now_s = now_s
        self._stride, self._last_s = 1, 0.0
        self.seconds, self.reason = 0.0, ""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Forgets snapshots of epochs that this fit will train again, or of another fit."""
        if not trainer.is_global_zero:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.glob("*.tmp"):
            file.unlink()
        for file in _files(self._folder):
            point = read_point(file)
            if point is None or point["epoch"] > trainer.current_epoch:
                file.unlink()
            else:
                self._stride = max(self._stride, int(point["stride"]))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Keeps the weights of this epoch's last step, or passes it over. Never ends the fit."""
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or self.reason or epoch % self._stride:
            return
        fit_s = self._log.fit_s
        if self._share is not None and self.seconds + self._last_s > self._share * fit_s:
            return
        began_s = self._now_s()
        try:
            self._keep(trainer, pl_module, epoch)
        except Exception as error:  # a curve is not worth a fit
            self.reason = f"snapshots ended at epoch {epoch}: {type(error).__name__}: {error}"
        self._last_s = self._now_s() - began_s
        self.seconds += self._last_s

    def _keep(self, trainer: Any, pl_module: Any, epoch: int) -> None:
        state = plain_state(pl_module)
        size = sum(value.numel() * value.element_size() for value in state.values())
        free = shutil.disk_usage(self._folder).free
        if size > LARGEST_BYTES or size * self._most > _OF_FREE * free:
            self.reason = f"{self._most} snapshots of {size:,} bytes are too many for {free:,} free bytes"
            if size > LARGEST_BYTES:
                self.reason = f"the weights have {size:,} bytes, more than {LARGEST_BYTES:,}"
            return
        point = {
            "epoch": epoch,
            "step": trainer.global_step,
            "samples": self._log.learned,
            "fit_s": self._log.weights_s,
            "stride": self._stride,
        }
        write_snapshot(state, self._folder / f"epoch-{epoch:06d}.safetensors", point)
        while len(kept := _files(self._folder)) > self._most:
            self._stride *= 2
            for file in kept:
                if int(file.stem.removeprefix("epoch-")) % self._stride:
                    file.unlink()


def write_snapshot(state: Mapping[str, Any], path: Path, point: Mapping[str, Any]) -> None:
    """One file, whole or not at all."""
    from safetensors.torch import save_file

    temporary = path.with_name(f"{path.name}.tmp")
    save_file(dict(state), str(temporary), metadata={_POINT: json.dumps(dict(point))})
    temporary.replace(path)


def read_point(path: Path) -> dict[str, Any] | None:
    """`{"epoch", "step", "samples", "fit_s", "stride"}` of a snapshot; None where the file is none."""
    from safetensors import safe_open

    with contextlib.suppress(Exception), safe_open(str(path), framework="pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()[_POINT])
        return found
    return None


def read_snapshots(folder: Path) -> list[dict[str, Any]]:
    """The points of all snapshots in a folder with the `file` of each, in the order of the epochs."""
    found = [(file, read_point(file)) for file in _files(folder)]
    return [{**point, "file": str(file)} for file, point in found if point is not None]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.safetensors"))
