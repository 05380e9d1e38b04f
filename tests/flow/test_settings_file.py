"""A section is added at the end of the settings, or nothing changes."""

from pathlib import Path

import pytest

from plaster_ops.errors import SettingsError
from plaster_ops.flow.settings_file import plan_addition
from plaster_ops.settings import load_settings

SECTION = '[pipelines.net]\nref = "net:pipeline"\n'


def test_a_project_without_settings_gets_a_file_with_its_default(tmp_path: Path) -> None:
    plan_addition(load_settings(tmp_path)).write(SECTION, "net")
    settings = load_settings(tmp_path)
    assert settings.default == "net"
    assert settings.pipelines["net"].ref == "net:pipeline"


def test_a_section_is_added_and_what_stood_there_stays_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "plaster.toml"
    before = '# mine\n[pipelines.other]\nref = "o:p"  # kept'
    file.write_text(before)
    told = plan_addition(load_settings(tmp_path)).write(SECTION, "net")
    assert file.read_text().startswith(before)
    assert set(load_settings(tmp_path).pipelines) == {"other", "net"}
    assert "added at its end" in told


def test_a_table_of_pyproject_is_added_to_there(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n\n[tool.plaster-ops]\n')
    addition = plan_addition(load_settings(tmp_path))
    addition.write(f"[{addition.prefix}pipelines.net]\nref = 'net:pipeline'\n", "net")
    assert set(load_settings(tmp_path).pipelines) == {"net"}


@pytest.mark.parametrize("before", ['pipelines = { other = { ref = "o:p" } }\n'])
def test_a_file_that_takes_no_section_is_left_alone(tmp_path: Path, before: str) -> None:
    (tmp_path / "plaster.toml").write_text(before)
    with pytest.raises(SettingsError, match="cannot be added"):
        plan_addition(load_settings(tmp_path)).write(SECTION, "net")
    assert (tmp_path / "plaster.toml").read_text() == before


def test_a_section_that_would_mean_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plaster.toml").write_text('default = "other"\n[pipelines.other]\nref = "o:p"\n')
    with pytest.raises(SettingsError, match="change the meaning"):
        plan_addition(load_settings(tmp_path)).write(SECTION + '[pipelines.third]\nref = "t:p"\n', "net")
    assert "net" not in load_settings(tmp_path).pipelines


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "plaster.toml"
    file.write_text('[pipelines.other]\nref = "o:p"\n')
    addition = plan_addition(load_settings(tmp_path))
    file.write_text('[pipelines.another]\nref = "o:p"\n')
    with pytest.raises(SettingsError, match="changed meanwhile"):
        addition.write(SECTION, "net")
    assert "another" in file.read_text()
