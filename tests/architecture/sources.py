"""The text of this repository, as its rules see it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("plaster_ops", "scheduler", "pipelines")
_LEFT_OUT = {".git", "mlruns", "build", "dist", "node_modules", "__pycache__"}


def modules(*packages: str) -> list[Path]:
    """Every module of those packages, or of all that are ours."""
    return sorted(file for package in packages or OURS for file in (ROOT / package).rglob("*.py"))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines, decorators not counted, of every function and method."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def imported(file: Path, *, at_the_door: bool) -> set[str]:
    """Top-level names of what a module imports: all of it, or only what importing the module itself loads."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(file)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if not (at_the_door and (inside or _only_for_types(child))):
                waiting.append(child)
    return found


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def texts() -> list[Path]:
    """Every text file that git would commit: tracked or not, but not ignored."""
    files = [file for file in ROOT.rglob("*") if file.is_file() and not _is_left_out(file)]
    return sorted(file for file in files if _is_text(file))


def _is_left_out(file: Path) -> bool:
    parts = file.relative_to(ROOT).parts
    hidden = parts[0].startswith(".") and parts[0] not in (".ci", ".gitignore")
    return hidden or bool(_LEFT_OUT & set(parts)) or any(part.endswith(".egg-info") for part in parts)


def _is_text(file: Path) -> bool:
    head = file.read_bytes()[:4096]
    return b"\0" not in head
