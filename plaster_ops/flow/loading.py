"""From the text `module:attribute` to the user's pipeline. Only worker processes import this: user code loads torch."""

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from plaster_ops.errors import PipelineError
from plaster_ops.importing import uncollected

_NEEDED = ("model", "data", "sample_batch", "score")


def split_reference(reference: str) -> tuple[str, str]:
    """`("package.module", "attribute")`; raises `PipelineError` where the text is no reference."""
    module, separator, attribute = reference.partition(":")
    if not separator or not module or not attribute:
        raise PipelineError(
            f"pipeline reference {reference!r} is not of the form module:attribute",
            "write it as package.module:name, for example pipelines.digits:pipeline",
        )
    return module, attribute


def load_pipeline(reference: str, project: Path) -> Any:
    """The object behind `reference`, with `project` first on the import path; a class is called without arguments."""
    module_name, attribute = split_reference(reference)
    folder = str(project)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    _prefer_project(module_name, project)
    try:
        with uncollected(module_name):
            module = importlib.import_module(module_name)
    except Exception as error:
        where = _last_user_line(error)
        raise PipelineError(
            f"module {module_name!r} of pipeline {reference!r} does not import: {type(error).__name__}: {error}{where}",
            f"try: cd {project} && python -c 'import {module_name}'",
        ) from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PipelineError(
                f"module {module_name!r} has no attribute {attribute!r}",
                f"it has: {', '.join(n for n in dir(module) if not n.startswith('_'))[:300]}",
            )
        found = getattr(found, part)
    pipeline = found() if inspect.isclass(found) else found
    missing = [name for name in _NEEDED if not hasattr(pipeline, name)]
    if missing:
        raise PipelineError(
            f"pipeline {reference!r} lacks {', '.join(missing)}",
            "a pipeline has model(), data(window), sample_batch(n) and score; see README.md, 'Bring your own model'",
        )
    return pipeline


def load_adapters(files: str) -> None:
    """Runs the user's adapter files (separated as a PATH is) as modules: custom operators, converters.

    Raises `PipelineError` naming the file that is missing or raises.
    """
    for name in filter(None, files.split(os.pathsep)):
        file = Path(name)
        module_name = f"_plaster_adapter_{file.stem}"
        try:
            spec = importlib.util.spec_from_file_location(module_name, file)
            if spec is None or spec.loader is None or not file.is_file():
                raise FileNotFoundError(f"no such Python file: {file}")
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            spec.loader.exec_module(module)
        except Exception as error:
            raise PipelineError(
                f"adapter {name} of engine.adapters fails: {type(error).__name__}: {error}{_last_user_line(error)}",
                f"try: python {file}",
            ) from error


def _prefer_project(module_name: str, project: Path) -> None:
    """Takes a plain folder of the project for its package, although a package of that name is installed.

    Python prefers a folder with `__init__.py` anywhere on the path to one without, even at its very beginning.
    """
    top = module_name.partition(".")[0]
    folder, file = project / top, project.joinpath(*module_name.split("."))
    plain = folder.is_dir() and not (folder / "__init__.py").exists() and not folder.with_suffix(".py").exists()
    if plain and top not in sys.modules and (file.with_suffix(".py").exists() or file.is_dir()):
        package = types.ModuleType(top)
        package.__path__ = [str(folder)]
        sys.modules[top] = package


def _last_user_line(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if len(frames) > 1 else ""
