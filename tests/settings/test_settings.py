"""plaster.toml is read once; what it does not know it names, with the nearest thing it does know."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from plaster_ops.domain.metrics import E2E_P50_MS, ROLLING_SCORE
from plaster_ops.errors import ExitCode, SettingsError
from plaster_ops.settings import Settings, load_settings
from plaster_ops.settings_sections import Measure, PipelineSettings

FULL = """
default = "digits"
tracking_uri = "http://mlflow:5000"

[pipelines.digits]
ref = "pipelines.digits:pipeline"
start = "warm"
cadence = { cron = "0 2 * * *", timezone = "Europe/Paris", jitter_s = 60, missed = "run_once", overlap = "skip" }
trigger = { min_new_samples = 200, on_drift = ["accuracy", "latency", "energy"] }
train = { devices = "auto", nodes = 1, launcher = "local", max_epochs = 20, target_score = 0.97, timeout_s = 3600 }
engine = { backends = ["openvino", "inductor"], precisions = ["fp32", "int8"], objective = "latency" }
measure = { profile = "standard", slo_ms = 7.0, batches = [1, 2, 4, 8, 16, 32, 64] }
gates = { accuracy = { max_drop = 0.005 }, energy = { max_drop_ratio = 0.05, required = true } }
budgets = { data_to_deploy_s = 14400 }
alerts = [{ kind = "webhook", url_env = "PLASTER_WEBHOOK" }]
"""


def write(folder: Path, text: str, name: str = "plaster.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path, text: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(folder, text))
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.next_step
    return caught.value


def test_the_settings_of_the_design_are_read(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, FULL))
    name, digits = settings.pipeline(None)
    assert (name, settings.tracking_uri) == ("digits", "http://mlflow:5000")
    assert (digits.trigger.min_new_samples, digits.train.target_score, digits.measure.slo_ms) == (200, 0.97, 7.0)
    assert settings.memory == tmp_path / "mlruns"
    assert settings.file == tmp_path / "plaster.toml"


def test_the_settings_of_this_repository_are_read(root: Path) -> None:
    name, digits = load_settings(root).pipeline(None)
    assert (name, digits.ref) == ("digits", "pipelines.digits:pipeline")


def test_a_project_without_a_settings_file_has_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.file is None
    assert settings.pipelines == {}
    name, pipeline = settings.pipeline("mine.model:pipeline")
    assert (name, pipeline.ref) == ("model", "mine.model:pipeline")
    assert (pipeline.measure.profile, pipeline.start, pipeline.inconclusive) == ("standard", "warm", "promote")


# ---- where the file lies -------------------------------------------------------------------------------------------
def test_the_nearest_folder_upwards_counts_when_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write(tmp_path / "project", FULL)
    below = project / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert load_settings().project == project


def test_a_folder_that_all_users_share_ends_the_search_unless_it_is_named_or_stood_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "tmp"
    below = shared / "mine" / "deep"
    below.mkdir(parents=True)
    for folder in (tmp_path, shared):
        (folder / "plaster.toml").write_text('default = "a"\n[pipelines.a]\nref = "m:a"\n')
    monkeypatch.chdir(below)
    assert load_settings().project == shared
    shared.chmod(0o1777)
    assert load_settings().file is None
    assert load_settings(shared).project == shared
    monkeypatch.chdir(shared)
    assert load_settings().project == shared


def test_a_named_project_is_not_searched_upwards(tmp_path: Path) -> None:
    project = write(tmp_path / "project", FULL)
    below = project / "below"
    below.mkdir()
    assert load_settings(below).file is None


def test_a_project_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="gone does not exist"):
        load_settings(tmp_path / "gone")


def test_pyproject_may_hold_the_settings(tmp_path: Path) -> None:
    write(tmp_path, '[tool.plaster-ops.pipelines.a]\nref = "m:p"\n', "pyproject.toml")
    assert load_settings(tmp_path).pipeline(None)[0] == "a"


def test_a_pyproject_of_something_else_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write(tmp_path / "project", FULL)
    inner = write(project / "inner", '[project]\nname = "other"\n', "pyproject.toml")
    monkeypatch.chdir(inner)
    assert load_settings().project == project


def test_plaster_toml_goes_before_pyproject(tmp_path: Path) -> None:
    write(tmp_path, '[tool.plaster-ops]\ndefault = "nobody"\n', "pyproject.toml")
    assert load_settings(write(tmp_path, FULL)).default == "digits"


# ---- what is refused -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ('tracking_url = "x"', "tracking_url", "tracking_uri"),
        ('[pipelines.a]\nref = "m:p"\ntrian = {}', "pipelines.a.trian", "train"),
        ('[pipelines.a]\nref = "m:p"\ntrain = { max_epoch = 3 }', "pipelines.a.train.max_epoch", "max_epochs"),
        ('[pipelines.a]\nref = "m:p"\nengine = { backend = [] }', "pipelines.a.engine.backend", "backends"),
        ('[pipelines.a]\nref = "m:p"\nmeasure = { slo = 7 }', "pipelines.a.measure.slo", "slo_ms"),
        ('[pipelines.a]\nref = "m:p"\ndata = { windows = "7d" }', "data.windows", "window"),
        ('[pipelines.a]\nref = "m:p"\ndata = { check_sample = 7 }', "data.check_sample", "check_samples"),
        ('[pipelines.a]\nref = "m:p"\ntrigger = { new_samples = 7 }', "trigger.new_samples", "min_new_samples"),
        (
            '[pipelines.a]\nref = "m:p"\ngates = { latency = { max_rise = 0.1 } }',
            "pipelines.a.gates.latency.max_rise",
            "max_rise_ratio",
        ),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_known_one(tmp_path: Path, text: str, key: str, nearest: str) -> None:
    error = refused(tmp_path, text)
    assert f"{key!r}" in error.message or f"{key}'" in error.message
    assert f"did you mean {nearest!r}?" in error.message
    assert str(tmp_path / "plaster.toml") in error.next_step


def test_every_trouble_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, '[pipelines.a]\nref = "m:p"\ntrian = {}\nmeasure = { slo_ms = -1 }')
    assert "trian" in error.message
    assert "pipelines.a.measure.slo_ms = -1" in error.message


def test_an_unknown_word_for_drift_names_the_nearest_and_lists_all(tmp_path: Path) -> None:
    error = refused(tmp_path, '[pipelines.a]\nref = "m:p"\ntrigger = { on_drift = ["accuracy", "input"] }')
    assert "unknown word 'input'; known: programmability, latency, accuracy, " in error.message
    assert "did you mean 'inputs'?" in error.message


def test_an_unknown_gate_names_the_nearest_and_lists_all(tmp_path: Path) -> None:
    error = refused(tmp_path, '[pipelines.a]\nref = "m:p"\ngates = { latancy = { max_drop = 0.1 } }')
    assert "unknown gate 'latancy'" in error.message
    assert "did you mean 'latency'?" in error.message
    assert "throughput" in error.message


@pytest.mark.parametrize(("limits", "count"), [("", 0), ("max_drop = 0.1, max_rise_ratio = 0.1", 2)])
def test_a_gate_has_exactly_one_limit(tmp_path: Path, limits: str, count: int) -> None:
    error = refused(tmp_path, f'[pipelines.a]\nref = "m:p"\ngates = {{ latency = {{ {limits} }} }}')
    assert error.message == f"gate 'latency' has {count} limits"


@pytest.mark.parametrize(
    "line",
    [
        "train = { devices = 0 }",
        'train = { devices = "all" }',
        "train = { max_epochs = 0 }",
        "train = { timeout_s = 0 }",
        "engine = { retained_ratio = 1.5 }",
        'engine = { precisions = ["fp4"] }',
        'engine = { objective = "beauty" }',
        "engine = { max_batch = 1 }",
        'measure = { profile = "quick" }',
        "measure = { batches = [0] }",
        "measure = { batches = [] }",
        "measure = { batches = [8.0] }",
        "measure = { slo_ms = inf }",
        "measure = { slo_ms = true }",
        'measure = { slo_ms = "7" }',
        'measure = { pin = "no" }',
        "measure = { server = 1 }",
        "measure = { cpu_tdp_w = inf }",
        "measure = { max_queue_delay_ms = inf }",
        "gates = { latency = { max_rise_ratio = inf } }",
        "train = { timeout_s = inf }",
        "train = { target_score = nan }",
        "train = { max_epochs = true }",
        'train = { max_epochs = "3" }',
        "engine = { timeout_s = inf }",
        "engine = { max_lost_score = inf }",
        "engine = { ladder_every_days = inf }",
        "engine = { adapters = [1] }",
        "trigger = { min_new_samples = 0 }",
        'cadence = { missed = "panic" }',
        'start = "hot"',
        'inconclusive = "maybe"',
        'alerts = [{ kind = "pigeon", url_env = "X" }]',
        "gates = { latency = { max_rise_ratio = -0.1 } }",
    ],
)
def test_a_value_that_makes_no_sense_is_named(tmp_path: Path, line: str) -> None:
    error = refused(tmp_path, f'[pipelines.a]\nref = "m:p"\n{line}')
    assert f"pipelines.a.{line.partition(' ')[0]}" in error.message


def test_a_whole_number_may_stand_where_a_fraction_could(tmp_path: Path) -> None:
    text = '[pipelines.a]\nref = "m:p"\nmeasure = { slo_ms = 7 }\ntrain = { target_score = 1 }'
    pipeline = load_settings(write(tmp_path, text)).pipelines["a"]
    assert (pipeline.measure.slo_ms, pipeline.train.target_score) == (7.0, 1.0)


def test_a_batch_that_is_named_twice_is_searched_once(tmp_path: Path) -> None:
    text = '[pipelines.a]\nref = "m:p"\nmeasure = { batches = [8, 1, 8] }'
    assert load_settings(write(tmp_path, text)).pipelines["a"].measure.batches == (8, 1)


def test_a_pipeline_without_a_reference_is_refused(tmp_path: Path) -> None:
    assert "pipelines.a.ref" in refused(tmp_path, '[pipelines.a]\nstart = "warm"').message


def test_what_is_no_toml_names_the_file(tmp_path: Path) -> None:
    error = refused(tmp_path, "default = digits")
    assert str(tmp_path / "plaster.toml") in error.message
    assert "not valid TOML" in error.message


def test_what_is_no_text_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "plaster.toml").write_bytes(b"default = '\xff\xfe'")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)


def test_a_default_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, 'default = "digit"\n[pipelines.digits]\nref = "m:p"')
    assert "default = 'digit' is not a pipeline; did you mean 'digits'?" in error.message


# ---- which pipeline ------------------------------------------------------------------------------------------------
def settings_with(folder: Path, *names: str, default: str | None = None) -> Settings:
    return Settings(
        project=folder,
        file=folder / "plaster.toml",
        tracking_uri="sqlite:///x.db",
        default=default,
        pipelines={name: PipelineSettings(ref=f"m.{name}:pipeline") for name in names},
    )


def test_an_unknown_pipeline_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"unknown pipeline 'digts' in plaster\.toml; did you mean 'digits'"
    ) as caught:
        settings_with(tmp_path, "digits", "power").pipeline("digts")
    assert "known pipelines: digits, power" in caught.value.next_step


def test_the_only_pipeline_needs_no_name_but_one_of_two_does(tmp_path: Path) -> None:
    assert settings_with(tmp_path, "a").pipeline(None)[0] == "a"
    assert settings_with(tmp_path, "a", "b", default="b").pipeline(None)[0] == "b"
    with pytest.raises(SettingsError, match="no pipeline named"):
        settings_with(tmp_path, "a", "b").pipeline(None)


def test_a_reference_of_a_declared_pipeline_is_that_pipeline(tmp_path: Path) -> None:
    assert settings_with(tmp_path, "a", "b").pipeline("m.b:pipeline")[0] == "b"


@pytest.mark.parametrize(
    ("reference", "name"), [("mine:pipeline", "mine"), ("a.b:pipeline", "b"), ("a.b:second", "b.second")]
)
def test_a_pipeline_given_by_reference_is_called_after_its_module(tmp_path: Path, reference: str, name: str) -> None:
    assert settings_with(tmp_path).pipeline(reference)[0] == name


def test_a_pipeline_given_by_reference_never_takes_the_name_and_history_of_a_declared_one(tmp_path: Path) -> None:
    name, pipeline = settings_with(tmp_path, "digits").pipeline("other.digits:pipeline")
    assert pipeline.ref == "other.digits:pipeline"
    assert name != "digits"


# ---- what the settings say -----------------------------------------------------------------------------------------
def test_a_gate_in_the_settings_is_the_margin_of_its_verdict_but_the_golden_floor_is_not() -> None:
    pipeline = PipelineSettings.model_validate(
        {"ref": "m:p", "gates": {"latency": {"max_rise_ratio": 0.2}, "golden": {"max_drop": 0.1}}}
    )
    assert pipeline.margins() == {E2E_P50_MS.key: 0.2}
    assert {gate.name: gate.limit for gate in pipeline.declared_gates()} == {"latency": 0.2, "golden": 0.1}


def test_no_gates_at_all_are_no_gates_at_all() -> None:
    assert PipelineSettings.model_validate({"ref": "m:p", "gates": {}}).declared_gates() == ()


def test_the_golden_floor_stands_even_where_other_gates_are_declared() -> None:
    pipeline = PipelineSettings.model_validate({"ref": "m:p", "gates": {"latency": {"max_rise_ratio": 0.2}}})
    assert {gate.name: gate.limit for gate in pipeline.declared_gates()} == {"latency": 0.2, "golden": 0.05}


def test_the_gates_of_a_pipeline_that_declares_none() -> None:
    gates = {gate.name: gate for gate in PipelineSettings(ref="m:p").declared_gates()}
    assert set(gates) == {"accuracy", "golden", "latency"}
    assert gates["accuracy"].metric is ROLLING_SCORE


def test_an_engine_takes_the_largest_batch_that_is_measured() -> None:
    assert PipelineSettings(ref="m:p").max_batch() == 64
    assert PipelineSettings(ref="m:p", measure=Measure(batches=(1,))).max_batch() == 2
    given = PipelineSettings.model_validate({"ref": "m:p", "engine": {"max_batch": 5}})
    assert given.max_batch() == 5


def test_settings_cannot_be_changed_after_they_are_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PipelineSettings(ref="m:p").start = "scratch"


def test_settings_survive_the_journal() -> None:
    pipeline = PipelineSettings.model_validate({"ref": "m:p", "train": {"trainer": {"precision": "bf16-mixed"}}})
    assert PipelineSettings.model_validate_json(pipeline.model_dump_json()) == pipeline


@pytest.mark.parametrize("wrong", ['window = "last week"', 'window = "90"', "replay_ratio = -1.0"])
def test_a_look_back_that_means_nothing_is_refused(tmp_path: Path, wrong: str) -> None:
    assert "data." in refused(tmp_path, f'[pipelines.a]\nref = "m:p"\ndata = {{ {wrong} }}').message


def test_an_address_where_the_name_of_a_variable_belongs_is_refused_and_not_repeated(tmp_path: Path) -> None:
    alert = '{ kind = "slack", url_env = "https://hooks.example/secret" }'
    error = refused(tmp_path, f'[pipelines.a]\nref = "m:p"\nalerts = [{alert}]')
    assert "a.alerts.0.url_env = ...: must be the name of an environment variable" in error.message
    assert "secret" not in error.message


def test_a_gate_can_be_a_bound_alone_and_is_then_no_margin() -> None:
    pipeline = PipelineSettings.model_validate(
        {"ref": "m:p", "gates": {"latency": {"ceiling": 7}, "accuracy": {"max_drop": 0.01, "floor": 0.9}}}
    )
    gates = {gate.name: gate for gate in pipeline.declared_gates()}
    assert (gates["latency"].limit, gates["latency"].ceiling) == (None, 7.0)
    assert (gates["accuracy"].limit, gates["accuracy"].floor) == (0.01, 0.9)
    assert pipeline.margins() == {ROLLING_SCORE.key: 0.01}


def test_a_floor_of_the_golden_set_is_kept_where_the_golden_gate_would_be_a_second_one() -> None:
    pipeline = PipelineSettings.model_validate(
        {"ref": "m:p", "gates": {"accuracy": {"max_drop": 0.01}, "golden": {"max_drop": 0.05, "floor": 0.8}}}
    )
    golden = next(gate for gate in pipeline.declared_gates(has_golden=False) if gate.name == "golden")
    assert (golden.limit, golden.floor) == (None, 0.8)


def test_a_floor_above_its_ceiling_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, '[pipelines.a]\nref = "m:p"\ngates = { latency = { floor = 8.0, ceiling = 7.0 } }')
    assert "floor 8 above its ceiling 7" in error.message
