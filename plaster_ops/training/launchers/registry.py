"""From the name of a launcher to the launcher. Loads no torch."""

from typing import cast

from plaster_ops.errors import SettingsError
from plaster_ops.plugins import Plugins
from plaster_ops.training.launchers.seam import Launcher

GROUP = "plaster_ops.launchers"
AUTO = "auto"
BUILT_IN = {
    "local": "plaster_ops.training.launchers.local:LocalLauncher",
    "torchrun": "plaster_ops.training.launchers.torchrun:TorchrunLauncher",
}


_LAUNCHERS = Plugins(
    kind="launcher",
    group=GROUP,
    built_in=BUILT_IN,
    members=("run", "spans_nodes"),
    see="ARCHITECTURE.md, Seams",
    more=(AUTO,),
)


def known_launchers() -> tuple[str, ...]:
    """Names that can be asked for here: built in, and of installed plugins."""
    return _LAUNCHERS.names()


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
    launcher = cast(Launcher, _LAUNCHERS.find(name))
    if nodes > 1 and not launcher.spans_nodes:
        raise SettingsError(
            f"train.launcher = {name!r} starts ranks on one node, and train.nodes = {nodes}",
            "use --launcher torchrun, or leave it out",
        )
    return launcher
