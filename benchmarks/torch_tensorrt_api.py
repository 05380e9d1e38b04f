"""Whether what the TensorRT backend calls is there, in each release of torch-tensorrt and modelopt that it may meet.

`python benchmarks/torch_tensorrt_api.py [--wheels FOLDER] [--releases 2.11.0,2.13.0]` looks every name of
tests/engines/torch_tensorrt_api.json up in the wheels' sources, which are read and not imported: neither package needs
to be installed, nor a GPU to be there. A keyword counts where it is a parameter of its own, never because **kwargs
would swallow it. Wheels that are not in FOLDER are downloaded. Exits 1 where anything is missing.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIST = Path(__file__).parents[1] / "tests" / "engines" / "torch_tensorrt_api.json"
DISTRIBUTIONS = {"torch_tensorrt": "torch-tensorrt", "modelopt": "nvidia-modelopt"}
_DEPTH = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a dotted name leads to: a definition, or a module where `node` is the whole of it."""

    module: str
    node: ast.AST


@dataclass(kw_only=True)
class Sources:
    """The Python sources of one wheel, by dotted name of the module."""

    files: Mapping[str, str]
    packages: frozenset[str]
    trees: dict[str, ast.Module] = field(default_factory=dict)

    @classmethod
    def of_wheel(cls, wheel: Path) -> Sources:
        """Reads the wheel; imports nothing."""
        files, packages = {}, set()
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                if entry.endswith(".py"):
                    dotted = entry.removesuffix(".py").replace("/", ".")
                    if dotted.endswith(".__init__"):
                        dotted = dotted.removesuffix(".__init__")
                        packages.add(dotted)
                    files[dotted] = archive.read(entry).decode()
        return cls(files=files, packages=frozenset(packages))

    def tree(self, module: str) -> ast.Module:
        """The module, parsed once."""
        if module not in self.trees:
            self.trees[module] = ast.parse(self.files[module])
        return self.trees[module]

    def find(self, dotted: str) -> Found | None:
        """Follows a dotted name from its first module on, through definitions, imports and submodules."""
        first, *parts = dotted.split(".")
        if first not in self.files:
            return None
        found: Found | None = Found(module=first, node=self.tree(first))
        for part in parts:
            if found is None or not isinstance(found.node, ast.Module):
                return None
            found = self.attribute(found.module, part)
        return found

    def attribute(self, module: str, name: str, depth: int = 0) -> Found | None:
        """What `module.name` is once the module was imported."""
        if module not in self.files or depth > _DEPTH:
            return None
        for statement in _statements(self.tree(module).body):
            if name in _defined(statement):
                return Found(module=module, node=statement)
            if isinstance(statement, ast.ImportFrom):
                found = self._imported(module, statement, name, depth)
                if found is not None:
                    return found
        submodule = f"{module}.{name}"
        return Found(module=submodule, node=self.tree(submodule)) if submodule in self.files else None

    def _imported(self, module: str, statement: ast.ImportFrom, name: str, depth: int) -> Found | None:
        origin = self._origin(module, statement)
        for alias in statement.names:
            if alias.name == "*" and not name.startswith("_"):
                found = self.attribute(origin, name, depth + 1)
                if found is not None:
                    return found
            elif (alias.asname or alias.name) == name:
                return self.attribute(origin, alias.name, depth + 1)
        return None

    def _origin(self, module: str, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        package = module if module in self.packages else module.rpartition(".")[0]
        for _ in range(statement.level - 1):
            package = package.rpartition(".")[0]
        return f"{package}.{statement.module}" if statement.module else package


def keywords_of(node: ast.AST, *, reads_kwargs: bool) -> set[str]:
    """Parameters that can be given by name; with `reads_kwargs` also those that the body takes out of **kwargs by name.

    Of a class, those of its constructor.
    """
    if isinstance(node, ast.ClassDef):
        constructor = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        return keywords_of(constructor[0], reads_kwargs=reads_kwargs) if constructor else set()
    if not isinstance(node, ast.FunctionDef):
        return set()
    named = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    swallowed = node.args.kwarg.arg if node.args.kwarg else ""
    if reads_kwargs and swallowed:
        named |= {
            str(inner.slice.value)
            for inner in ast.walk(node)
            if isinstance(inner, ast.Subscript)
            and isinstance(inner.value, ast.Name)
            and inner.value.id == swallowed
            and isinstance(inner.slice, ast.Constant)
        }
    return named


def attributes_of(node: ast.AST) -> set[str]:
    """Methods, fields, and what methods store on `self`."""
    if not isinstance(node, ast.ClassDef):
        return set()
    names = {name for statement in node.body for name in _defined(statement)}
    stored = (
        inner for inner in ast.walk(node) if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
    )
    return names | {s.attr for s in stored if isinstance(s.value, ast.Name) and s.value.id == "self"}


def look_up(sources: Sources, names: Mapping[str, Any], release: str) -> Iterator[tuple[str, bool]]:
    """`name`, `name(keyword)`, `name.attribute` -> whether this release has it. Nothing for what is not asked of it.

    A release that the list does not know is asked for everything.
    """
    known = releases_of(names)
    for name, asked in names.items():
        if release in known and release not in asked["releases"]:
            continue
        found = sources.find(name)
        yield name, found is not None
        reads_kwargs = bool(asked.get("reads_kwargs", False))
        keywords = keywords_of(found.node, reads_kwargs=reads_kwargs) if found else set()
        for keyword in asked.get("keywords", ()):
            yield f"{name}({keyword})", keyword in keywords
        for keyword, releases in asked.get("keywords_in", {}).items():
            if release in releases:
                yield f"{name}({keyword})", keyword in keywords
        attributes = attributes_of(found.node) if found else set()
        for attribute in asked.get("attributes", ()):
            yield f"{name}.{attribute}", attribute in attributes


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Of a module, those under `if`, `try` and `with` too."""
    for statement in body:
        yield statement
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                for inner in getattr(statement, part, ()):
                    yield from _statements(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.AnnAssign):
        return {statement.target.id} if isinstance(statement.target, ast.Name) else set()
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def find_wheel(folder: Path, distribution: str, release: str) -> Path | None:
    """The wheel of that release in the folder, for whatever Python."""
    return next(iter(sorted(folder.glob(f"{distribution.replace('-', '_')}-{release}-*.whl"))), None)


def fetch_wheel(folder: Path, distribution: str, release: str) -> Path:
    """Downloads the wheel without what it needs. Raises where pip cannot, or leaves no wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), f"{distribution}=={release}"], check=True)
    wheel = find_wheel(folder, distribution, release)
    if wheel is None:
        raise FileNotFoundError(f"pip left no wheel of {distribution} {release}")
    return wheel


def releases_of(names: Mapping[str, Any]) -> list[str]:
    """Every release that is asked about, in order."""
    return sorted({release for asked in names.values() for release in asked["releases"]})


def print_table(results: Mapping[str, Mapping[str, bool]]) -> None:
    """`results`: release -> entry -> whether it is there."""
    rows = list(dict.fromkeys(entry for found in results.values() for entry in found))
    width = max(map(len, rows))
    print(f"{'':{width}}  {'  '.join(f'{release:>7}' for release in results)}")
    words = {True: "ok", False: "missing", None: "-"}
    for row in rows:
        print(f"{row:{width}}  {'  '.join(f'{words[found.get(row)]:>7}' for found in results.values())}")


def main() -> int:
    """0 where everything is there, 1 where anything is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder with wheels that are already here")
    parser.add_argument("--releases", default="", help="of torch-tensorrt, by commas; all on the list where not given")
    options = parser.parse_args()
    missing = 0
    with tempfile.TemporaryDirectory() as downloads:
        for package, names in json.loads(LIST.read_text(encoding="utf-8")).items():
            only = options.releases.split(",") if options.releases and package == "torch_tensorrt" else None
            results: dict[str, dict[str, bool]] = {}
            for release in only or releases_of(names):
                wheel = options.wheels and find_wheel(options.wheels, DISTRIBUTIONS[package], release)
                sources = Sources.of_wheel(wheel or fetch_wheel(Path(downloads), DISTRIBUTIONS[package], release))
                results[release] = dict(look_up(sources, names, release))
            print_table(results)
            for release, found in results.items():
                print(f"{DISTRIBUTIONS[package]} {release}: {sum(found.values())} of {len(found)} found")
                missing += len(found) - sum(found.values())
            print()
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
