"""Whether a module of the project that this process has loaded was changed since, so that it does not run old code."""

import sys
import time
from pathlib import Path

from plaster_ops.flow.code_identity import is_of_project


class ProjectCode:
    """Modules whose files lie in `project`; installed packages are none, also where its environment lies inside.

    `began_s`: seconds since the epoch, before the first of them was loaded.
    """

    def __init__(self, project: Path, began_s: float) -> None:
        self._project, self._began_ns = project.resolve(), int(began_s * 1e9)
        self._known: dict[str, int] = {}
        self._modules = 0

    def changed(self) -> Path | None:
        """One that was; None where all are as they were loaded."""
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            for module in list(sys.modules.values()):
                file = getattr(module, "__dict__", {}).get("__file__")
                if isinstance(file, str) and file not in self._known and is_of_project(Path(file), self._project):
                    self._known[file] = _modified_ns(file)
                    if self._began_ns < self._known[file] <= time.time_ns():
                        return Path(file)  # after it was loaded, perhaps
        return next((Path(file) for file, stamp in self._known.items() if _modified_ns(file) != stamp), None)


def _modified_ns(file: str) -> int:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return -1
