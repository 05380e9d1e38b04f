"""The page for new users: its files are what they say; `benchmarks/first_nightly.py` does the rest of it."""

import ast
import re
import tomllib
from pathlib import Path

from plaster_ops.settings import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "first-nightly.md"


def files() -> dict[str, str]:
    found = re.findall(r"^```\w+ ([\w.]+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(found)


def test_its_modules_are_python_and_its_settings_are_taken(tmp_path: Path) -> None:
    written = files()
    assert set(written) == {"wear.py", "machine.py", "wear_pipeline.py", "plaster.toml", "receiver.py"}
    for name, text in written.items():
        if name.endswith(".py"):
            ast.parse(text)
    line = re.search(r"echo '(alerts = .*)' >> plaster.toml", PAGE.read_text(encoding="utf-8"))
    assert line is not None
    tomllib.loads(written["plaster.toml"] + line.group(1))
    (tmp_path / "plaster.toml").write_text(written["plaster.toml"] + line.group(1) + "\n")
    settings = load_settings(tmp_path)
    assert settings.pipelines["wear"].alerts[0].url_env == "PLASTER_WEBHOOK"


def test_what_it_promises_of_the_end_of_a_command_is_an_exit_code_of_the_readme() -> None:
    promised = set(re.findall(r"^\$ .*# exit (\d+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert promised
    assert all(f"| {code} |" in readme for code in promised)
