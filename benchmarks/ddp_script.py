"""What a user writes for torchrun: `torchrun --standalone --nproc-per-node 2 ddp_script.py FOLDER EPOCHS cpu|gpu`."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from ddp_model import Net, Pictures
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from safetensors.torch import save_file


class Moments(Callback):
    """When training began and ended, for the benchmark's own figures."""

    def on_train_start(self, *_: Any) -> None:
        self.began_s = time.time()

    def on_train_end(self, *_: Any) -> None:
        self.ended_s = time.time()


def main() -> None:
    folder, epochs, accelerator = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    pl.seed_everything(7, workers=True, verbose=False)
    model, moments = Net(), Moments()
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1 if accelerator == "gpu" else 2,
        strategy="ddp",
        deterministic=accelerator == "gpu",
        max_epochs=epochs,
        callbacks=[ModelCheckpoint(dirpath=folder, save_last=True), moments],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=Pictures())
    if trainer.is_global_zero:
        save_file(model.state_dict(), str(folder / "weights.safetensors"))
        told = {"began_s": moments.began_s, "ended_s": moments.ended_s}
        (folder / "moments.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
