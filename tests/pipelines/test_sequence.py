"""The reference pipeline of dynamic length: real lines, module by module; the golden ones are in no window."""

from pathlib import Path

import pytest
import torch

from pipelines.sequence import LONGEST, PAD, STEP, Lines, collate
from plaster_ops.data.batches import golden_loader, labelled_batches, rolling_loader
from plaster_ops.data.windows import open_window
from plaster_ops.domain.window import Window
from plaster_ops.engines.export import export_program
from plaster_ops.flow.stages.export import survey_inputs
from plaster_ops.ports import Pipeline


@pytest.fixture(scope="module")
def lines() -> Lines:
    return Lines()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASTER_PROJECT", str(tmp_path))


@pytest.fixture
def window(lines: Lines) -> Window:
    return open_window(lines.source, seen=None, learned=None, needed=1).window


def test_it_is_a_pipeline_of_two_kinds_in_equal_parts(lines: Lines) -> None:
    assert isinstance(lines, Pipeline)
    english = sum(kind for _, kind in lines.rows) / len(lines.rows)
    assert 0.4 < english < 0.6
    assert len(lines.rows) > 2000


def test_no_golden_line_arrives_by_its_place_and_the_golden_set_is_frozen(lines: Lines) -> None:
    again = Lines()
    assert torch.equal(again.golden[0], lines.golden[0])
    assert len(lines.golden[1]) + len(lines.rows) > 5 * len(lines.golden[1])
    assert lines.source.pieces[-1] == len(lines.rows)


def test_the_newest_modules_are_held_out_in_the_same_order_each_time(lines: Lines, window: Window) -> None:
    data = lines.data(window)
    assert len(data.held_out) == 360
    assert len(data.fit_rows) == window.cut
    first, second = (list(lines.data(window).test_dataloader()) for _ in range(2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    trained = {id(row) for row in data.fit_rows}
    assert trained.isdisjoint(id(row) for row in data.held_out)


def test_lengths_differ_between_batches_within_the_declared_range(lines: Lines, window: Window) -> None:
    lengths = {tokens.shape[1] for tokens, _ in lines.data(window).test_dataloader()}
    assert len(lengths) > 1
    assert all(STEP <= length <= LONGEST and length % STEP == 0 for length in lengths)


def test_padding_changes_no_answer(lines: Lines) -> None:
    model = lines.model().eval()
    tokens = collate(lines.rows[:4])[0][:, :STEP]
    padded = torch.nn.functional.pad(tokens, (0, LONGEST - STEP), value=PAD)
    with torch.no_grad():
        assert torch.allclose(model(tokens), model(padded), atol=1e-5)


def test_the_data_can_be_read_as_the_stages_read_it(lines: Lines, window: Window) -> None:
    example = lines.sample_batch(2)
    rolling = list(labelled_batches(rolling_loader(lines.data(window)), example, lines))
    golden = list(labelled_batches(golden_loader(lines), example, lines))
    assert sum(len(targets) for _, targets in rolling) == 360
    assert sum(len(targets) for _, targets in golden) == len(lines.golden[1])


def test_one_graph_serves_every_length(lines: Lines) -> None:
    model = lines.model().eval()
    example = lines.sample_batch(3)
    specs = survey_inputs(lines, model, example, None)
    assert (specs[0].name, specs[0].shape, specs[0].ranges) == ("tokens", (None,), ((STEP, LONGEST),))
    program = export_program(model, example, specs, 8)
    for length in (STEP, 40, LONGEST):
        tokens = torch.randint(1, 128, (5, length))
        assert torch.allclose(program.module()(tokens), model(tokens), atol=1e-5)


def test_a_few_steps_lower_the_loss(lines: Lines, window: Window) -> None:
    torch.manual_seed(0)
    model = lines.model()
    (optimiser,) = [model.configure_optimizers()]
    losses = []
    for batch in list(lines.data(window).train_dataloader())[:20]:
        loss = model.training_step(batch, 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
