"""What `init` refuses before anything is looked at, and what it calls things."""

from pathlib import Path

import pytest

from plaster_ops.errors import UsageError
from plaster_ops.flow.init import InitRequest, Outcome, _name_of, _stopped, _timeout_s, run_init
from plaster_ops.report.checklist import checklist_view
from plaster_ops.settings import load_settings


def begin(folder: Path, name: str | None = None) -> None:
    request = InitRequest(module="pkg.models:NetA", data="pkg.data:Rows", name=name)
    run_init(load_settings(folder), request, tell=lambda _event: None, ask=None)


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "net_a_pipeline.py").write_text("mine")
    with pytest.raises(UsageError, match="never overwrites"):
        begin(tmp_path)
    assert (tmp_path / "net_a_pipeline.py").read_text() == "mine"


def test_a_pipeline_that_is_declared_is_not_declared_again(tmp_path: Path) -> None:
    (tmp_path / "plaster.toml").write_text('[pipelines.flow]\nref = "m:p"\n')
    with pytest.raises(UsageError, match="declared already"):
        begin(tmp_path, "flow")


def test_a_name_is_a_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no name"):
        begin(tmp_path, "../x")


@pytest.mark.parametrize(
    ("reference", "name"),
    [("a.b:Net", "net"), ("a:NetLightRegression", "net_light_regression"), ("a:MLP", "mlp"), ("a:HTTPNet", "http_net")],
)
def test_a_pipeline_is_called_after_its_class(reference: str, name: str) -> None:
    assert _name_of(reference) == name


def test_a_long_fit_gets_a_limit_that_lets_it_end() -> None:
    assert _timeout_s(None) is None
    assert _timeout_s(10.0) is None
    assert (_timeout_s(300.0) or 0) >= 2 * 20 * 300


def test_the_checklist_says_what_to_do_and_what_comes_next() -> None:
    from io import StringIO

    from rich.console import Console

    checks = [{"name": "imports", "state": "bad", "detail": "no module", "next_step": "install it"}]
    outcome = Outcome(name="net", ok=False, checks=tuple(checks), files=(), next_step="install it").to_json()
    out = StringIO()
    Console(file=out, width=120).print(checklist_view(outcome, plain=True))
    text = out.getvalue()
    assert "BAD   imports  no module" in text
    assert "-> install it" in text
    assert "nothing was written" in text


def test_where_a_check_is_bad_nothing_is_written_without_a_word_for_it(tmp_path: Path) -> None:
    checks = [{"name": "imports", "state": "bad", "detail": "needs backbone", "next_step": "--arg backbone=..."}]
    request = InitRequest(module="pkg.models:NetA", data="pkg.data:Rows")
    ended = _stopped("net_a", request, checks, {"module": {}, "data": {}}, tmp_path / "net_a_pipeline.py")
    assert (ended.ok, ended.files, ended.next_step) == (False, (), "--arg backbone=...")
    assert list(tmp_path.iterdir()) == []
