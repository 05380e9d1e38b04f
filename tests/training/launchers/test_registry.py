"""Launchers by name."""

from typing import Any

import pytest

from plaster_ops.errors import ExitCode, SettingsError
from plaster_ops.training.launchers.local import LocalLauncher
from plaster_ops.training.launchers.registry import find_launcher, known_launchers, name_for
from plaster_ops.training.launchers.torchrun import TorchrunLauncher


class Own:
    spans_nodes = True

    def run(self, attempt: Any) -> list[dict[str, Any]]:
        del attempt
        return []


def test_auto_is_the_gang_on_one_node_and_torchrun_on_several() -> None:
    assert (name_for("auto", 1), name_for("auto", 2), name_for("local", 2)) == ("local", "torchrun", "local")
    assert isinstance(find_launcher("auto", 1), LocalLauncher)
    assert isinstance(find_launcher("auto", 3), TorchrunLauncher)


def test_an_unknown_launcher_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"unknown launcher 'torchrunn'; did you mean 'torchrun'\?") as caught:
        find_launcher("torchrunn")
    assert caught.value.next_step.startswith("known: auto, local, torchrun")
    assert caught.value.exit_code == ExitCode.USAGE
    assert known_launchers() == ("local", "torchrun")


def test_one_of_your_own_is_named_by_module_and_attribute() -> None:
    assert isinstance(find_launcher(f"{__name__}:Own", 2), Own)
    with pytest.raises(SettingsError, match="lacks run, spans_nodes"):
        find_launcher(f"{__name__}:pytest")
    with pytest.raises(SettingsError, match="does not import: ModuleNotFoundError"):
        find_launcher("nowhere.at_all:Launcher")


def test_a_gang_of_one_node_is_refused_for_two() -> None:
    with pytest.raises(SettingsError, match=r"'local' starts ranks on one node, and train\.nodes = 2") as caught:
        find_launcher("local", 2)
    assert "torchrun" in caught.value.next_step
