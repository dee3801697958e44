"""The networks that this machine is in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from relay.operate.init.lan import networks

ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth1\t00080808\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t0002A8C0\t0101A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
ppp0\t0100000A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
eth0\t0003A8C0\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
NONE = "0" * 32


def row6(destination: str, prefix: str, flags: str, name: str, gateway: str = NONE) -> str:
    return f"{destination:0<32} {prefix} {NONE} 00 {gateway:0<32} 00000100 00000001 00000000 {flags} {name:>8}\n"


ROUTE6 = (
    row6("fd00", "40", "00000001", "eth0")
    + row6("20010db8", "30", "00000003", "eth0", "fe80000000000001")
    + row6("fe80", "40", "00000001", "eth0")
    + row6("", "00", "00000003", "eth0", "fd01")
    + row6(NONE[:-1] + "1", "80", "80200001", "lo")
    + row6("ff00", "08", "00000001", "eth0")
    + row6("", "00", "00200200", "lo")
)


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is printed in the order of the machine")
def test_the_networks_on_the_link_are_found_private_ones_first(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTE)
    (tmp_path / "ipv6_route").write_text(ROUTE6)
    assert [(str(one.network), one.name) for one in networks(tmp_path)] == [
        ("192.168.1.0/24", "eth0"),
        ("172.17.0.0/16", "docker0"),
        ("fd00::/64", "eth0"),
        ("8.8.8.0/24", "eth1"),
    ]


def test_without_tables_there_are_none(tmp_path: Path) -> None:
    assert networks(tmp_path) == []
