# ruff: noqa: ARG002  (Lightning fixes the signatures of its hooks)
"""Keeps a fit from being lost: checkpoints between steps and at the end of epochs, and the way back into one, exactly.

No hook of Lightning's lies between two steps, after validation and schedulers of the one and before the batch of the
other, where nothing is half done. So methods of this trainer's own loops are wrapped (`_wrap`). A fit that is not
disturbed draws no random number more or less for it, and makes no collective call more: the word by which rank 0 says
what all ranks do next takes the place of the one that Lightning sends before each step.
"""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from plaster_ops.errors import Interrupted
from plaster_ops.ports import EventSink
from plaster_ops.training.checkpoint_file import keep
from plaster_ops.training.farewell import StopRequest
from plaster_ops.training.fitlog import FitLog
from plaster_ops.training.messages import FitSpec
from plaster_ops.training.rank_state import EpochStart, add_means, collect, gather, put_back_metrics, put_back_trains
from plaster_ops.training.replay import make_again, mark, return_to, why_not_inside

KEY = "plaster_ops"
"""What a checkpoint holds besides Lightning's own."""

_GO, _SAVE, _STOP = 0, 1, 2


class Keeper:
    """A callback of either Lightning; see `callbacks.bind`."""

    def __init__(self, log: FitLog, emit: EventSink, spec: FitSpec, stop: StopRequest) -> None:
        super().__init__()
        self._log, self._emit, self._spec, self._stop = log, emit, spec, stop
        self._start = EpochStart()
        self._resumed: dict[str, Any] | None = None
        self._means: dict[str, Any] = {}
        self._kept_s = time.monotonic()
        self.reason = ""
        """Why there are no checkpoints inside epochs."""

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Takes what is ours out of a checkpoint."""
        self._resumed = checkpoint.get(KEY)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Wraps the loops of this trainer."""
        fit, epoch = trainer.fit_loop, trainer.fit_loop.epoch_loop
        _wrap(fit, "run", lambda run: lambda: self._run(trainer, run))
        _wrap(fit, "_load_combined_loader_states", lambda load: lambda: self._before_iterator(trainer, load))
        _wrap(fit, "on_advance_start", lambda begin: lambda: self._begin_epoch(trainer, begin))
        _wrap(fit, "on_advance_end", lambda end: lambda: self._end_epoch(trainer, end))
        _wrap(epoch, "on_run_start", lambda begin: lambda fetcher: self._begin_batches(trainer, begin, fetcher))
        _wrap(epoch, "advance", lambda step: lambda fetcher: self._between_steps(trainer, step, fetcher))
        epoch._broadcast_sigterm_tensor = lambda: None

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Lightning has taken SIGTERM just before."""
        self._stop.listen()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Finds out whether checkpoints inside epochs can be, and says so where they cannot."""
        self._kept_s = time.monotonic()
        self.reason = why_not_inside(trainer)
        if self.reason and trainer.is_global_zero:
            self._emit({"event": "note", "text": f"checkpoints at the end of epochs only: {self.reason}"})

    def _run(self, trainer: Any, run: Callable[[], None]) -> None:
        self._stop.listen()
        if self._resumed is not None:
            trainer.should_stop = bool(self._resumed["should_stop"])
            put_back_metrics(trainer, self._mine(trainer))
            put_back_trains(trainer, self._mine(trainer))
        run()

    def _mine(self, trainer: Any) -> dict[str, Any]:
        ranks = (self._resumed or {})["ranks"]
        mine: dict[str, Any] = ranks[min(trainer.global_rank, len(ranks) - 1)]
        return mine

    def _before_iterator(self, trainer: Any, load: Callable[[], None]) -> None:
        load()
        self._start.before_iterator = mark(trainer)

    def _begin_epoch(self, trainer: Any, begin: Callable[[], None]) -> None:
        """The first epoch of a resumed fit begins as it did, or would have, in the process before."""
        fit, resumed = trainer.fit_loop, self._resumed
        if resumed is None:
            begin()
            return
        fit._last_train_dl_reload_epoch = resumed["loaders_of_epoch"]
        if not resumed["batch"]:
            fit._restarting = fit.epoch_loop.restarting = False
            return_to(trainer, self._mine(trainer)["now"])
        begin()
        if resumed["batch"]:
            _enter_epoch(trainer)
            self._log.go_on(self._mine(trainer)["counted"])

    def _begin_batches(self, trainer: Any, begin: Callable[[Any], None], fetcher: Any) -> None:
        if self._resumed is not None:
            begin(fetcher)
            self._go_on(trainer, fetcher, self._resumed)
            return
        before, iterator = mark(trainer), id(fetcher.combined_loader._iterator)
        begin(fetcher)
        if id(fetcher.combined_loader._iterator) != iterator:
            self._start.before_iterator = before
        self._start.before_batch = mark(trainer)

    def _go_on(self, trainer: Any, fetcher: Any, resumed: dict[str, Any]) -> None:
        mine = self._mine(trainer)
        if resumed["batch"]:
            self._start = EpochStart(mine["before_iterator"], mine["before_batch"])
            make_again(trainer, fetcher, self._start, resumed["batch"])
            return_to(trainer, mine["now"])
            self._means = dict(mine["means"])
        else:
            self._start.before_iterator = mark(trainer)
            iter(fetcher)
            self._start.before_batch = mark(trainer)
        trainer.fit_loop._restarting = trainer.fit_loop.epoch_loop.restarting = False
        self._resumed = None

    def _between_steps(self, trainer: Any, step: Callable[[Any], None], fetcher: Any) -> None:
        word = self._agreed(trainer)
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if word != _GO and batch and not self.reason:
            self._keep(trainer, batch)
        if word == _STOP:
            trainer.strategy.barrier("plaster_ops stop")
            raise Interrupted(15)
        step(fetcher)
        if self._means:
            self._means = add_means(trainer, self._means)

    def _agreed(self, trainer: Any) -> int:
        """What rank 0 wants before this step. Gradients that are still being gathered are in no checkpoint."""
        word = _GO
        if trainer.is_global_zero and not trainer.fit_loop._should_accumulate():
            due = not self.reason and time.monotonic() - self._kept_s >= self._spec.checkpoint_every_s
            word = _STOP if self._stop.is_asked else _SAVE if due else _GO
        if trainer.world_size == 1:
            return word
        said = torch.tensor([word], device=trainer.strategy.root_device)
        torch.distributed.broadcast(said, src=0)
        return int(said.item())

    def _end_epoch(self, trainer: Any, end: Callable[[], None]) -> None:
        end()
        self._means = {}
        if not (trainer.fit_loop.done and _has_last_words(trainer)):
            self._keep(trainer, 0)

    def _keep(self, trainer: Any, batch: int) -> None:
        """Writes a checkpoint of this moment; a collective call."""
        mine = torch.tensor(self._log.unsummed(), dtype=torch.long, device=trainer.strategy.root_device)
        self._log.sum_up(trainer.strategy.reduce(mine, reduce_op="sum").tolist())
        ranks = gather(trainer, collect(trainer, self._start, self._log.counted))
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if trainer.is_global_zero:
            state[KEY] = {
                "ranks": ranks,
                "batch": batch,
                "should_stop": trainer.should_stop,
                "loaders_of_epoch": trainer.fit_loop._last_train_dl_reload_epoch,
            }
            facts = {
                "epoch": trainer.current_epoch,
                "batch": batch,
                "step": trainer.global_step,
                "world_size": trainer.world_size,
                "fit_id": self._spec.fit_id(),
                "log": self._log.to_json(),
            }
            path = keep(state, Path(self._spec.checkpoint_folder), facts, self._note)
            if path is not None:
                told = {"epoch": trainer.current_epoch, "batch": batch, "file": path.name}
                self._emit({"event": "checkpoint", **told})
        self._log.set_free()
        self._kept_s = time.monotonic()

    def _note(self, text: str) -> None:
        self._emit({"event": "note", "text": text})


def _wrap(loop: Any, name: str, around: Callable[[Any], Any]) -> None:
    setattr(loop, name, around(getattr(loop, name)))


def _enter_epoch(trainer: Any) -> None:
    """Every callback and the module enter the present epoch again: what they set up then is not in a checkpoint."""
    call = importlib.import_module(f"{type(trainer).__module__.rpartition('.')[0]}.call")
    call._call_callback_hooks(trainer, "on_train_epoch_start")
    call._call_lightning_module_hook(trainer, "on_train_epoch_start")


def _has_last_words(trainer: Any) -> bool:
    """Whether something of the user's happens after the last epoch that may change the weights, as weight averaging
    does. It would not happen again in a fit that is resumed there, so the last epoch is done again instead."""
    return any(_overrides(part, "on_train_end") for part in [*trainer.callbacks, trainer.lightning_module])


def _overrides(part: Any, hook: str) -> bool:
    """Whether that hook is one of the user's; Lightning's checkpoints and our callbacks only write files and events."""
    owner = next((kind for kind in type(part).__mro__ if hook in vars(kind)), None)
    if owner is None or owner.__module__.startswith("plaster_ops."):
        return False
    harmless = {"ModelCheckpoint", "Checkpoint", "Callback", "LightningModule", "ModelHooks", "EarlyStopping"}
    return owner.__name__ not in harmless
