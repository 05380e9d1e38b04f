"""Small by the wall: what is longer has a second noun in it."""

import ast
import re

from tests.architecture.sources import functions, modules, name_of, tree

MODULE_LINES, FUNCTION_LINES = 400, 60
VAGUE = {"utils", "util", "helpers", "common", "manager", "core", "base", "misc", "tools", "shared"}


def test_no_module_is_longer_than_the_wall() -> None:
    lengths = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in modules()}
    assert len(lengths) > 100
    assert {name: lines for name, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_is_longer_than_the_wall() -> None:
    long = {
        f"{name_of(file)}:{name}": lines
        for file in modules()
        for name, lines in functions(file)
        if lines > FUNCTION_LINES
    }
    assert long == {}


def test_no_room_is_named_for_nothing_in_particular() -> None:
    vague = [name_of(file) for file in modules() if VAGUE & {file.stem, *file.relative_to(file.parents[2]).parts}]
    assert vague == []


def test_every_module_says_why_it_exists() -> None:
    silent = [name_of(file) for file in modules() if tree(file).body and ast.get_docstring(tree(file)) is None]
    assert silent == []


def test_libraries_do_not_print() -> None:
    """Values do not print: only commands do, and a pipeline that is itself a command."""
    talkers = [
        name_of(file)
        for file in modules("plaster_ops")
        if not name_of(file).startswith("plaster_ops/cli/")
        and any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
            and "sys.stderr" not in ast.unparse(node)
            for node in ast.walk(tree(file))
        )
    ]
    assert talkers == []


def test_a_metric_key_is_written_as_text_in_the_catalogue_only() -> None:
    from plaster_ops.domain.metrics import CATALOGUE

    key = re.compile("|".join(re.escape(f'"{name}"') for name in CATALOGUE))
    spelt = {
        name_of(file): key.findall(file.read_text(encoding="utf-8"))
        for file in modules()
        if not name_of(file).startswith("plaster_ops/domain/metrics/")
    }
    assert {name: found for name, found in spelt.items() if found} == {}
