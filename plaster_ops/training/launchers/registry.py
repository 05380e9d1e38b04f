"""From the name of a launcher to the launcher. Loads no torch."""

import difflib
import importlib
import inspect
from importlib.metadata import entry_points
from typing import cast

from plaster_ops.errors import SettingsError
from plaster_ops.training.launchers.seam import Launcher

GROUP = "plaster_ops.launchers"
AUTO = "auto"
BUILT_IN = {
    "local": "plaster_ops.training.launchers.local:LocalLauncher",
    "torchrun": "plaster_ops.training.launchers.torchrun:TorchrunLauncher",
}


def known_launchers() -> tuple[str, ...]:
    """Names that can be asked for here: built in, and of installed plugins."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def name_for(name: str, nodes: int) -> str:
    """`auto` resolved: `local` on one node, `torchrun` on several; any other name as it is."""
    if name != AUTO:
        return name
    return "local" if nodes == 1 else "torchrun"


def find_launcher(name: str, nodes: int = 1) -> Launcher:
    """The launcher of that name; `module:attribute` names one of your own; `auto` is `name_for`'s.

    Raises `SettingsError` that lists the known names, says why a plugin cannot be used, or that it cannot have so many
    nodes.
    """
    name = name_for(name, nodes)
    reference = name if ":" in name else _reference(name)
    module_name, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        launcher = cast(Launcher, found() if inspect.isclass(found) else found)
    except Exception as error:
        raise SettingsError(
            f"train.launcher = {name!r} does not import: {type(error).__name__}: {error}",
            f"try: python -c 'from {module_name} import {attribute}'",
        ) from error
    lacking = [member for member in ("run", "spans_nodes") if not hasattr(launcher, member)]
    if lacking:
        raise SettingsError(f"train.launcher = {name!r} lacks {', '.join(lacking)}", "see ARCHITECTURE.md, Seams")
    if nodes > 1 and not launcher.spans_nodes:
        raise SettingsError(
            f"train.launcher = {name!r} starts ranks on one node, and train.nodes = {nodes}",
            "use --launcher torchrun, or leave it out",
        )
    return launcher


def _reference(name: str) -> str:
    if name in BUILT_IN:
        return BUILT_IN[name]
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.value
    known = (AUTO, *known_launchers())
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SettingsError(
        f"unknown launcher {name!r}{hint}", f"known: {', '.join(known)}; or your own as module:attribute"
    )
