"""Devices are chosen from what NVML and the environment say, without torch."""

import pytest

from plaster_ops.errors import UsageError
from plaster_ops.training import devices
from plaster_ops.training.devices import choose_devices, visible_gpus


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_nvml_uuids", lambda: ("GPU-a", "GPU-b"))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_nvml_uuids", lambda: ())


@pytest.mark.usefixtures("two_gpus")
def test_auto_takes_every_visible_gpu_by_its_uuid() -> None:
    chosen = choose_devices("auto", "auto", {})
    assert (chosen.accelerator, chosen.count, chosen.visible) == ("gpu", 2, ("GPU-a", "GPU-b"))


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("setting", "visible"), [("1", ("1",)), ("GPU-b, GPU-a", ("GPU-b", "GPU-a")), ("", ()), ("0,-1,1", ("0",))]
)
def test_cuda_visible_devices_has_the_last_word(setting: str, visible: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": setting}) == visible


@pytest.mark.usefixtures("two_gpus")
def test_the_cpu_is_used_where_it_is_asked_for() -> None:
    chosen = choose_devices(3, "cpu", {})
    assert (chosen.accelerator, chosen.count, chosen.visible) == ("cpu", 3, ())


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_one_process_on_the_cpu_where_there_is_no_gpu() -> None:
    chosen = choose_devices("auto", "auto", {"CUDA_VISIBLE_DEVICES": "0"})
    assert (chosen.accelerator, chosen.count) == ("cpu", 1)


@pytest.mark.usefixtures("two_gpus")
def test_more_gpus_than_there_are_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="devices = 3 on auto, and 2 GPUs"):
        choose_devices(3, "auto", {})


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("wanted", ["auto", 1])
def test_a_gpu_where_there_is_none_is_wrong_use(wanted: int) -> None:
    with pytest.raises(UsageError, match="0 GPUs"):
        choose_devices(wanted, "gpu", {})


def test_no_device_at_all_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="devices = 0"):
        choose_devices(0, "auto", {})
