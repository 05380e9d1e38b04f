"""How ranks reach each other: what the environment says of it, and which interface they use where it says nothing.

Everything in the environment reaches the ranks, NCCL_*, GLOO_* and TORCH_* included; nothing of it is overridden.
"""

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path

RECORDED = frozenset(
    (
        "NCCL_ALGO",
        "NCCL_BUFFSIZE",
        "NCCL_CROSS_NIC",
        "NCCL_CUMEM_ENABLE",
        "NCCL_DEBUG",
        "NCCL_IB_DISABLE",
        "NCCL_IB_GID_INDEX",
        "NCCL_IB_HCA",
        "NCCL_IB_TC",
        "NCCL_IB_TIMEOUT",
        "NCCL_MAX_CTAS",
        "NCCL_MAX_NCHANNELS",
        "NCCL_MIN_CTAS",
        "NCCL_MIN_NCHANNELS",
        "NCCL_NET",
        "NCCL_NET_GDR_LEVEL",
        "NCCL_NTHREADS",
        "NCCL_NVLS_ENABLE",
        "NCCL_P2P_DISABLE",
        "NCCL_P2P_LEVEL",
        "NCCL_PROTO",
        "NCCL_SHM_DISABLE",
        "NCCL_SOCKET_FAMILY",
        "NCCL_SOCKET_IFNAME",
        "NCCL_SOCKET_NTHREADS",
        "GLOO_DEVICE_TRANSPORT",
        "GLOO_SOCKET_IFNAME",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TORCH_DISTRIBUTED_DEBUG",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING",
        "TORCH_NCCL_AVOID_RECORD_STREAMS",
        "TORCH_NCCL_BLOCKING_WAIT",
        "TORCH_NCCL_ENABLE_MONITORING",
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC",
        "TORCH_NCCL_HIGH_PRIORITY",
    )
)
"""Variables that change speed or behaviour of a fit, and hold no secret: kept with the run where they are set."""


def recorded(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of `RECORDED` that are set, by name."""
    return {name: environment[name] for name in sorted(RECORDED & environment.keys())}


def interface_env(address: str, environment: Mapping[str, str]) -> dict[str, str]:
    """GLOO_SOCKET_IFNAME: the interface by which this machine reaches `address`; {} where you have set it.

    gloo would take the one that the machine's own name leads to, which on many is the loopback. {} too where it cannot
    be found out. Nothing is sent.
    """
    if "GLOO_SOCKET_IFNAME" in environment:
        return {}
    name = _interface_to(address)
    return {"GLOO_SOCKET_IFNAME": name} if name else {}


def _interface_to(address: str) -> str | None:
    try:
        family, kind, _, _, target = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            mine = str(probe.getsockname()[0])
    except OSError:
        return None
    if ipaddress.ip_address(mine.partition("%")[0]).is_loopback:
        return "lo" if Path("/sys/class/net/lo").exists() else None
    import psutil

    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == mine for entry in entries):
            return str(name)
    return None
