"""What the machine is, and whether it was left alone."""

import hashlib
import os
from pathlib import Path

import pynvml
import pytest

from plaster_ops.plaster import machine, preflight
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.preflight import (
    CpuTimes,
    GpuLook,
    braked,
    cpu_times,
    disturbance,
    look_at_gpu,
    what_can_be_measured,
)
from plaster_ops.plaster.sensing import Sensed
from tests.plaster.fake_nvml import NOT_SUPPORTED, FakeGpu, FakeNvml, SimClock, install


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """A board that NVML knows, in use by this process."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    board = FakeGpu("GPU-1", name="NVIDIA Something", pids=(os.getpid(),))
    install(monkeypatch, FakeNvml(SimClock(), [board]))
    return board


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml(SimClock(), [], init=pynvml.NVML_ERROR_DRIVER_NOT_LOADED))


def test_a_fingerprint_names_the_cpu_and_keeps_the_rest_as_environment(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", "processor : 0\nmodel name\t: Some CPU 3000\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    found = machine.fingerprint("cpu", 2, ("1x8x8",), environment={"backend": "openvino"}, root=tmp_path)
    assert (found.device, found.device_count, found.threads, found.input_shapes) == ("Some CPU 3000", 1, 2, ("1x8x8",))
    environment = dict(found.environment)
    assert environment["cpu_quota"] == "1.5"
    assert environment["governor"] == "performance"
    assert environment["backend"] == "openvino"
    assert environment["torch"]
    assert environment["affinity"] == ",".join(map(str, sorted(os.sched_getaffinity(0))))


@pytest.mark.usefixtures("gpu")
def test_a_fingerprint_of_a_gpu_names_the_gpu_and_its_driver() -> None:
    found = machine.fingerprint("cuda:0", 1)
    assert found.device == "NVIDIA Something"
    assert dict(found.environment)["driver"] == "580.65"
    assert dict(found.environment)["power_limit_w"] == "350"


def test_modes_of_a_gpu_that_it_does_not_tell_are_unknown() -> None:
    class Telling:
        NVML_CLOCK_SM = 1
        NVMLError = RuntimeError

        def nvmlDeviceGetEccMode(self, _handle: str) -> tuple[int, int]:  # noqa: N802
            return 1, 0

        def nvmlDeviceGetMaxClockInfo(self, _handle: str, _clock: int) -> int:  # noqa: N802
            return 1980

        def nvmlDeviceGetMigMode(self, _handle: str) -> tuple[int, int]:  # noqa: N802
            raise self.NVMLError("Not Supported")

    modes = machine._gpu_modes(Telling(), "handle")
    assert (modes["gpu_ecc"], modes["gpu_max_sm_clock_mhz"]) == ("1", "1980")
    assert (modes["gpu_mig"], modes["gpu_persistence"]) == ("unknown", "unknown")


def test_a_container_is_named_where_it_names_itself(tmp_path: Path) -> None:
    assert machine.container(tmp_path) == "none"
    write(tmp_path, ".dockerenv", "")
    assert machine.container(tmp_path) == "docker"
    write(tmp_path, "run/.containerenv", "")
    assert machine.container(tmp_path) == "podman"
    write(tmp_path, "run/.containerenv", 'engine="podman"\nimage="localhost/plaster:7"\n')
    assert machine.container(tmp_path) == "localhost/plaster:7"
    write(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert machine.cpu_environment(tmp_path)["container"] == "localhost/plaster:7"


def test_the_newest_timing_cache_is_digested(tmp_path: Path) -> None:
    assert machine.timing_cache_digest(tmp_path) is None
    write(tmp_path, "tensorrt/one/timing.cache", "old")
    os.utime(tmp_path / "tensorrt/one/timing.cache", (1, 1))
    write(tmp_path, "tensorrt/two/timing.cache", "new")
    digest = machine.timing_cache_digest(tmp_path)
    assert digest == hashlib.sha256(b"new").hexdigest()


@pytest.mark.usefixtures("no_driver")
def test_without_a_driver_a_gpu_is_unknown_not_guessed() -> None:
    assert machine.gpu_model("cuda:0") == ("unknown GPU", {})
    look = look_at_gpu("cuda:0", has_context=True)
    assert look == GpuLook(note="whether the GPU was shared or hot is not known (driver not loaded)")


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_nvml_does_not_know_is_unknown_not_guessed() -> None:
    assert machine.gpu_model("cuda:1") == ("unknown GPU", {})


@pytest.mark.parametrize(
    ("name", "text", "quota"),
    [
        ("sys/fs/cgroup/cpu.max", "max 100000\n", "none"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n", "none"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n", "2"),
        ("elsewhere", "", "unknown"),
    ],
)
def test_the_cpu_quota_is_read_from_either_kind_of_cgroup(tmp_path: Path, name: str, text: str, quota: str) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    write(tmp_path, name, text)
    assert machine.cpu_quota(tmp_path) == quota


def test_absent_packages_are_left_out() -> None:
    assert machine.package_versions(["numpy", "no-such-package-anywhere"]).keys() == {"numpy"}


def test_cpu_times_split_busy_idle_and_stolen(tmp_path: Path) -> None:
    hz = os.sysconf("SC_CLK_TCK")
    fields = [100, 0, 50, 700, 50, 0, 0, 100]
    write(tmp_path, "proc/stat", "cpu  " + " ".join(str(f * hz) for f in fields) + " 0 0\ncpu0 1 2\n")
    assert cpu_times(tmp_path) == CpuTimes(busy_s=150, steal_s=100, total_s=1000)
    assert cpu_times(tmp_path / "nothing") is None


def times(busy_s: float, steal_s: float, total_s: float) -> CpuTimes:
    return CpuTimes(busy_s=busy_s, steal_s=steal_s, total_s=total_s)


def test_a_quiet_machine_has_nothing_to_note() -> None:
    quiet = disturbance(times(10, 0, 100), times(20, 0.05, 200), own_cpu_s=9.9)
    assert quiet.notes == ()
    assert quiet.suspect == ""
    assert quiet.other_load_ratio == pytest.approx(0.001)


def test_foreign_load_is_noted_and_much_steal_is_suspect() -> None:
    loaded = disturbance(times(0, 0, 0), times(60, 2, 100), own_cpu_s=20)
    assert loaded.notes == ("the host took 2.0% of the CPU time (steal)", "other processes used 40% of the machine")
    assert loaded.suspect == ""
    robbed = disturbance(times(0, 0, 0), times(20, 30, 100), own_cpu_s=20)
    assert "30.0%" in robbed.suspect


def test_without_proc_nothing_is_known_of_the_load() -> None:
    quiet = disturbance(None, None, 1.0, gpu_trouble="hot")
    assert quiet.steal_ratio is None
    assert quiet.suspect == "hot"


def test_trouble_of_a_gpu_is_foreign_processes_heat_or_a_shared_board(gpu: FakeGpu) -> None:
    def trouble(has_context: bool = True) -> str:
        return look_at_gpu("cuda:0", has_context=has_context).trouble

    assert trouble() == ""
    gpu.reasons = pynvml.nvmlClocksThrottleReasonSwPowerCap
    assert trouble() == ""
    gpu.reasons = pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    assert "throttled" in trouble()
    gpu.pids = (os.getpid(), 1)
    assert "1 other process on" in trouble()
    gpu.pids, gpu.reasons = (4711,), 0
    assert trouble() == "", "the number that the host gives this process"
    assert "1 other process on" in trouble(has_context=False)
    gpu.pids = (4711, 4712)
    assert "1 other process on" in trouble()
    assert "2 other processes on" in trouble(has_context=False)
    gpu.mig = 1
    assert "MIG" in trouble()
    assert look_at_gpu("cpu", has_context=True) == GpuLook()


def test_what_could_not_be_told_of_a_gpu_is_noted() -> None:
    quiet = disturbance(times(0, 0, 0), times(20, 0, 100), 20, gpu_note="not known")
    assert (quiet.notes, quiet.suspect) == (("not known",), "")
    assert disturbance(None, None, 1.0, gpu_note="not known").notes == ("not known",)


@pytest.mark.parametrize(("share", "is_told"), [(0.04, False), (0.06, True), (None, False)])
def test_heat_in_more_than_5_percent_of_the_samples_is_told(share: float | None, is_told: bool) -> None:
    windows = [
        EnergyWindow(joules=1.0, window_s=seconds, inferences=1, updates=1, sensed=Sensed(braked_ratio=ratio))
        for seconds, ratio in ((1.0, share), (1.0, share), (3.0, None))
    ]
    assert ("heat or a power brake" in braked([None, *windows])) == is_told


def test_this_process_has_a_peak_and_an_age() -> None:
    peak = machine.peak_host_bytes()
    assert peak is not None
    assert peak > 10_000_000
    assert machine.process_age_s() > 0.0


def test_where_proc_is_missing_peak_and_age_are_unknown(tmp_path: Path) -> None:
    assert machine.peak_host_bytes(tmp_path) is None
    assert machine.process_age_s(tmp_path) == 0.0


@pytest.mark.usefixtures("no_driver")
def test_doctor_gets_a_reason_for_everything_that_cannot_be_measured(tmp_path: Path) -> None:
    found = {thing: (ok, reason) for thing, ok, reason in what_can_be_measured(root=tmp_path)}
    assert found["GPU energy (NVML)"] == (False, "no NVML (driver not loaded)")
    assert found["GPU power beside it (NVML)"][0] is False
    assert found["CPU energy (RAPL)"][0] is False
    assert found["CPU time"][0] is True
    assert all(reason for _, reason in found.values())


def test_doctor_says_what_can_be_measured(tmp_path: Path, gpu: FakeGpu) -> None:
    write(tmp_path, "proc/sys/kernel/perf_event_paranoid", "1\n")
    found = {thing: (ok, reason) for thing, ok, reason in what_can_be_measured(root=tmp_path)}
    assert found["performance counters (perf)"][0] is True
    assert found["GPU energy (NVML)"][0] is True
    assert found["GPU power beside it (NVML)"] == (True, "instantaneous power")
    gpu.errors = {"nvmlDeviceGetFieldValues": NOT_SUPPORTED}
    averaged = {thing: reason for thing, _, reason in what_can_be_measured(root=tmp_path)}
    assert "averaged" in averaged["GPU power beside it (NVML)"]
    assert preflight.what_can_be_measured()
