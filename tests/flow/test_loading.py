"""From `module:attribute` to the user's object, and from every way that can fail to a sentence."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plaster_ops.errors import PipelineError
from plaster_ops.flow.loading import load_pipeline, split_reference

WHOLE = """
class Brought:
    score = None
    def model(self): ...
    def data(self, window): ...
    def sample_batch(self, n): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project folder; what was imported from it is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(project: Path, text: str, name: str = "brought_by_user") -> None:
    file = project.joinpath(*name.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def refused(reference: str, project: Path) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        load_pipeline(reference, project)
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize("reference", ["digits", ":pipeline", "digits:", ""])
def test_what_is_no_reference_is_told_its_form(reference: str) -> None:
    with pytest.raises(PipelineError, match="not of the form module:attribute") as caught:
        split_reference(reference)
    assert repr(reference) in caught.value.message


def test_a_class_is_made_and_an_object_is_taken_as_it_is(project: Path) -> None:
    write(project, f"{WHOLE}\nthing = Brought()\nclass Shelf:\n    inner = thing\n")
    made = load_pipeline("brought_by_user:Brought", project)
    assert type(made).__name__ == "Brought"
    taken = load_pipeline("brought_by_user:thing", project)
    assert taken is load_pipeline("brought_by_user:Shelf.inner", project)


def test_the_project_goes_before_everything_else_on_the_import_path(project: Path) -> None:
    """A project may have a module whose name is taken elsewhere."""
    write(project, WHOLE, "import_order_probe.pipelines")
    write(project, f"{WHOLE}\nOTHER = 1", "other.import_order_probe.pipelines")
    sys.path.insert(0, str(project / "other"))
    pipeline = load_pipeline("import_order_probe.pipelines:Brought", project)
    assert sys.path[0] == str(project)
    assert not hasattr(sys.modules[type(pipeline).__module__], "OTHER")


def test_a_module_that_does_not_import_is_named_with_the_line(project: Path) -> None:
    write(project, "x = 1\nimport no_such_package_at_all\n")
    error = refused("brought_by_user:pipeline", project)
    assert "module 'brought_by_user' of pipeline 'brought_by_user:pipeline' does not import" in error.message
    assert "No module named 'no_such_package_at_all'" in error.message
    assert "(brought_by_user.py:2)" in error.message
    assert error.next_step == f"try: cd {project} && python -c 'import brought_by_user'"


def test_an_error_while_importing_is_told_whatever_it_is(project: Path) -> None:
    write(project, "raise RuntimeError('no data here')")
    assert "RuntimeError: no data here" in refused("brought_by_user:pipeline", project).message


def test_a_module_that_is_not_there_is_named(project: Path) -> None:
    assert "No module named 'nowhere_to_be_found'" in refused("nowhere_to_be_found:pipeline", project).message


def test_an_attribute_that_is_not_there_lists_those_that_are(project: Path) -> None:
    write(project, WHOLE)
    error = refused("brought_by_user:pipeline", project)
    assert error.message == "module 'brought_by_user' has no attribute 'pipeline'"
    assert "Brought" in error.next_step


def test_what_a_pipeline_lacks_is_named(project: Path) -> None:
    write(project, "class Brought:\n    def model(self): ...\n    def data(self, window): ...\n")
    error = refused("brought_by_user:Brought", project)
    assert error.message == "pipeline 'brought_by_user:Brought' lacks sample_batch, score"


def test_a_plain_folder_of_the_project_comes_before_an_installed_package_of_its_name(project: Path) -> None:
    elsewhere = project / "elsewhere"
    write(elsewhere, "", "houses.__init__")
    write(project / "home", WHOLE, "houses.mine")
    sys.path.insert(0, str(elsewhere))
    assert load_pipeline("houses.mine:Brought", project / "home").__class__.__name__ == "Brought"
