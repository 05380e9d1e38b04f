"""`plaster-ops init` as a user runs it: piped, in a folder with their own classes and nothing else."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copyfile(Path(__file__).parents[1] / "flow" / "strangers.py", tmp_path / "strangers.py")
    return tmp_path


def test_a_pipeline_is_tried_written_and_never_overwritten(folder: Path) -> None:
    """forward takes the whole dict of a batch: class Served, tried by fit and export."""
    (folder / "mine.py").write_text(
        "import torch\nfrom strangers import Rows, WholeBatch\n\n\n"
        "class Net(WholeBatch):\n"
        "    def training_step(self, batch, _):\n"
        "        return torch.nn.functional.cross_entropy(self(batch)['scores'], batch['label'])\n\n\n"
        "def collate(rows):\n"
        "    x, y = (torch.stack(part) for part in zip(*rows))\n"
        "    return {'x': x, 'weight': torch.ones(len(x), 1), 'label': y, 'id': [str(k) for k in y.tolist()]}\n\n\n"
        "class Data(Rows):\n"
        "    def train_dataloader(self):\n"
        "        return self._with(super().train_dataloader())\n\n"
        "    def test_dataloader(self):\n"
        "        return self._with(super().test_dataloader())\n\n"
        "    def _with(self, loader):\n"
        "        return torch.utils.data.DataLoader(loader.dataset, batch_size=self.batch_size, collate_fn=collate)\n"
    )
    line = ("init", "--module", "mine:Net", "--data", "mine:Data", "--json")
    ended = run_command(folder, *line)
    assert ended.code == 0, ended.out + ended.err
    payload = ended.payload
    assert payload["ok"]
    assert [row["name"] for row in payload["checks"] if row["state"] == "bad"] == []
    assert {"imports", "forward runs", "a training step", "score works", "export works", "engines here"} <= {
        row["name"] for row in payload["checks"]
    }
    assert {file["path"] for file in payload["files"]} == {"net_pipeline.py", "plaster.toml"}
    assert "class Served(Net)" in (folder / "net_pipeline.py").read_text()
    planned = run_command(folder, "retrain", "net", "--dry-run")
    assert planned.code == 0, planned.err
    assert "evaluate on 30" in planned.out
    again = run_command(folder, *line)
    assert again.code == 2
    assert "never overwrites" in again.err


def test_what_would_not_retrain_is_a_draft_when_asked_for_and_no_pipeline(folder: Path) -> None:
    drafted = run_command(folder, "init", "--module", "strangers:NeedsBackbone", "--data", "strangers:Rows", "--draft")
    assert drafted.code == 2
    assert "--arg backbone=..." in drafted.out
    assert "backbone=...,  # TODO: Module" in (folder / "needs_backbone_pipeline.py").read_text()
    assert not (folder / "plaster.toml").exists()


def test_piped_without_names_it_asks_nothing(folder: Path) -> None:
    ended = run_command(folder, "init", timeout_s=60)
    assert ended.code == 2
    assert "--module is missing" in ended.err
