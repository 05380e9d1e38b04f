"""What is recorded of the environment, and which interface is taken where none is named."""

import socket

import psutil

from plaster_ops.training.network import interface_env, recorded


def test_only_listed_variables_that_are_set_are_kept() -> None:
    given = {"NCCL_ALGO": "Ring", "GLOO_SOCKET_IFNAME": "eth0", "NCCL_SECRET": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    assert recorded(given) == {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_ALGO": "Ring"}


def test_the_interface_that_was_named_is_left_alone() -> None:
    assert interface_env("127.0.0.1", {"GLOO_SOCKET_IFNAME": "ib0"}) == {}


def test_the_loopback_is_used_for_one_node_only() -> None:
    assert interface_env("127.0.0.1", {}) == {"GLOO_SOCKET_IFNAME": "lo"}
    others = {
        entry.address: name
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family == socket.AF_INET and not entry.address.startswith("127.")
    }
    for address, name in others.items():
        assert interface_env(address, {}) == {"GLOO_SOCKET_IFNAME": name}


def test_a_name_that_leads_nowhere_names_no_interface() -> None:
    assert interface_env("no-such-host.invalid", {}) == {}
