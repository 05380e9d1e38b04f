"""Which devices a fit gets, found without importing torch: the parent must stay light."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from plaster_ops.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """`count` ranks on one accelerator; `visible` is what CUDA_VISIBLE_DEVICES must say, empty on a CPU."""

    accelerator: Literal["cpu", "gpu"]
    count: int
    visible: tuple[str, ...] = ()


def choose_devices(
    wanted: int | Literal["auto"], accelerator: Literal["auto", "cpu", "gpu"], environment: Mapping[str, str]
) -> Devices:
    """The devices for a fit. Raises `UsageError` where more GPUs are wanted than there are."""
    if wanted != "auto" and wanted < 1:
        raise UsageError(f"devices = {wanted} is not a number of devices", 'use a number from 1, or "auto"')
    gpus = () if accelerator == "cpu" else visible_gpus(environment)
    if not gpus and accelerator != "gpu":
        return Devices(accelerator="cpu", count=1 if wanted == "auto" else wanted)
    count = len(gpus) if wanted == "auto" else wanted
    if not gpus or count > len(gpus):
        raise UsageError(
            f"devices = {wanted} on {accelerator}, and {len(gpus)} GPUs are visible here",
            "ask for fewer devices, or train on the CPU",
        )
    return Devices(accelerator="gpu", count=count, visible=gpus[:count])


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs that CUDA would show: the entries of CUDA_VISIBLE_DEVICES, else the UUID of every GPU; () without any.

    UUIDs, because CUDA and NVML number the GPUs differently.
    """
    uuids = _nvml_uuids()
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not uuids:
        return uuids
    entries = [entry.strip() for entry in chosen.split(",")]
    end = next((place for place, entry in enumerate(entries) if entry in ("", "-1")), len(entries))
    return tuple(entries[:end])


def _nvml_uuids() -> tuple[str, ...]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no permission: each means that no GPU can be used from here
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
        return tuple(uuid.decode() if isinstance(uuid, bytes) else str(uuid) for uuid in found)
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
