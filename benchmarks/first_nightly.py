"""The page docs/first-nightly.md, done: every file of it written, every command run, in a new environment and folder.

A block whose first line names a file (```python wear.py) becomes that file. Of a ```console block each line after `$ `
is run in one shell, in order; it must end with 0, or with what a `# exit N` behind it says. A command that ends in `&`
stays until the end. Of the output that the page shows every line without a digit must have come, and words before a
`...` that ends a line. The wheel is built from this checkout, and pip finds it by the name on the page; the machine's
crontab is kept apart by a stand-in. Prints seconds a command; ends with 1 at the first line that is not true.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "first-nightly.md"
_BLOCK = re.compile(r"^```(\w+)(?: ([\w./-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CRONTAB = """#!/bin/sh
case "$1" in
-l) if [ -f "$CRONTAB_FILE" ]; then cat "$CRONTAB_FILE"; else echo "no crontab for you" >&2; exit 1; fi ;;
-r) rm -f "$CRONTAB_FILE" ;;
-|"") cat > "$CRONTAB_FILE" ;;
*) cat "$1" > "$CRONTAB_FILE" ;;
esac
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of the page."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command of the page: the code it must end with, whether it stays, and the lines that the page shows."""

    line: str
    code: int
    stays: bool
    shown: tuple[str, ...]


def steps_of(page: str) -> Iterator[File | Command]:
    """The page's files and commands, from top to bottom."""
    for language, name, body in _BLOCK.findall(page):
        if name:
            yield File(name=name, text=body)
        elif language == "console":
            yield from _commands(body)


def _commands(body: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, *shown = part.splitlines()
        line, _, expected = line.partition("# exit ")
        stays = line.rstrip().endswith("&")
        yield Command(line=line.rstrip(" &"), code=int(expected or 0), stays=stays, shown=tuple(shown))


def missing(shown: tuple[str, ...], out: str) -> list[str]:
    """The shown lines without a digit that did not come; of a line that ends in `...` what stands before it."""
    there = [" ".join(line.split()) for line in out.splitlines()]
    lost = []
    for line in shown:
        words = " ".join(line.split())
        start = words.removesuffix("...").rstrip()
        if not start or re.search(r"\d", start):
            continue
        found = any(each.startswith(start) for each in there) if words.endswith("...") else start in there
        if not found:
            lost.append(line)
    return lost


class Shell:
    """One bash that keeps its folder and variables between commands, as the reader's does."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self._state = folder, folder / ".state"
        self._env, self._staying = env, list[subprocess.Popen[bytes]]()

    def run(self, line: str, limit_s: float) -> tuple[int, str]:
        """Exit code and what came out, standard error last."""
        script = f"{self._load()}{line}\ncode=$?\nexport -p > {self._state}\nexit $code\n"
        ended = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=self._env, capture_output=True, text=True, timeout=limit_s
        )
        return ended.returncode, ended.stdout + ended.stderr

    def keep(self, line: str, shown: tuple[str, ...], limit_s: float) -> tuple[int, str]:
        """Starts what stays; waits until the shown lines have come, at least a second."""
        log = self._folder / f".stays{len(self._staying)}.txt"
        with log.open("wb") as out:
            self._staying.append(
                subprocess.Popen(
                    ["bash", "-c", f"{self._load()}exec {line}"],
                    cwd=self._folder,
                    env=self._env,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        until_s = time.monotonic() + limit_s
        time.sleep(1.0)
        while missing(shown, log.read_text()) and time.monotonic() < until_s:
            time.sleep(0.5)
        return self._staying[-1].poll() or 0, log.read_text()

    def _load(self) -> str:
        return f". {self._state}\n" if self._state.exists() else ""

    def close(self) -> None:
        """Ends what stays."""
        for process in self._staying:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def prepare(base: Path) -> dict[str, str]:
    """The wheel where pip finds it, and a crontab that is a file. Returns the environment of the shell."""
    wheels, programs = base / "wheels", base / "programs"
    programs.mkdir(parents=True)
    (programs / "crontab").write_text(_CRONTAB)
    (programs / "crontab").chmod(0o755)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(wheels), str(ROOT)], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PLASTER", "VIRTUAL_"))}
    links = f"{wheels} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CRONTAB_FILE": str(base / "crontab.txt"),
        "PIP_FIND_LINKS": links,
        "COLUMNS": "200",
    }


def clear(folder: Path) -> None:
    """Nothing in the folder but the environment, and that without an older wheel of ours."""
    for there in folder.iterdir():
        if there.name == ".venv":
            subprocess.run([there / "bin/pip", "--quiet", "uninstall", "--yes", "plaster-ops"], check=True)
        elif there.is_dir():
            shutil.rmtree(there)
        else:
            there.unlink()


def walk(folder: Path, env: dict[str, str], limit_s: float, outputs: Path | None) -> bool:
    """Does the page in that folder; True where all of it was true."""
    shell = Shell(folder, env)
    try:
        for number, step in enumerate(steps_of(PAGE.read_text(encoding="utf-8"))):
            if isinstance(step, File):
                (folder / step.name).write_text(step.text)
                print(f"          wrote {step.name}", flush=True)
                continue
            began_s = time.monotonic()
            do = shell.keep(step.line, step.shown, limit_s) if step.stays else shell.run(step.line, limit_s)
            print(f"{time.monotonic() - began_s:8.1f}  {step.line}", flush=True)
            if outputs is not None:
                (outputs / f"{number:02d}.txt").write_text(f"$ {step.line}\n{do[1]}")
            lost = missing(step.shown, do[1])
            if do[0] != step.code or lost:
                print(f"{do[1]}\nNOT TRUE: exit {do[0]}, the page says {step.code}; not shown: {lost}")
                return False
    finally:
        shell.close()
    return True


def main() -> int:
    """0 where the page is true."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--keep", type=Path, help="work below this folder and keep it; what is installed there is used again"
    )
    parser.add_argument("--limit-s", type=float, default=1200.0, help="the most that a command may take")
    given = parser.parse_args()
    base = given.keep.resolve() if given.keep else Path(tempfile.mkdtemp(prefix="first-nightly-"))
    try:
        for name in ("wheels", "programs", "outputs"):
            shutil.rmtree(base / name, ignore_errors=True)
        env = prepare(base)
        folder, outputs = base / "mill", base / "outputs"
        outputs.mkdir()
        began_s = time.monotonic()
        folder.mkdir(exist_ok=True)
        clear(folder)
        true = walk(folder, env, given.limit_s, outputs)
        print(f"{time.monotonic() - began_s:8.1f}  in all; {'every line is true' if true else 'not true'}")
    finally:
        if not given.keep:
            shutil.rmtree(base, ignore_errors=True)
    return 0 if true else 1


if __name__ == "__main__":
    sys.exit(main())
