"""Which addresses may be reached."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.networks import Reach, parse_networks
from tests.domain.builders import properties

PUBLIC = ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1", "2002:101:101::1")
PRIVATE = (
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.9", "168.63.129.16",
    "169.254.169.254", "169.254.1.1", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::",
    "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_admitted(address: str) -> None:
    assert Reach().admits(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_all_others_are_not(address: str) -> None:
    assert not Reach().admits(address)


@pytest.mark.parametrize("address", ["", "localhost", "2130706433", "0x7f.1", "127.1", "example.com"])
def test_what_is_no_address_is_not(address: str) -> None:
    assert not Reach(parse_networks("0.0.0.0/0,::/0")).admits(address)


@pytest.mark.parametrize(
    ("allowed", "address", "admitted"),
    [
        ("10.0.0.0/8", "10.9.9.9", True),
        ("10.0.0.0/8", "::ffff:10.9.9.9", True),
        ("10.0.0.0/8", "192.168.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        (" 10.0.0.0/8 , fd00::/8, ", "fd12::1", True),
        ("0.0.0.0/0", "::1", False),
    ],
)
def test_the_operator_may_allow_networks(allowed: str, address: str, admitted: bool) -> None:
    assert Reach(parse_networks(allowed)).admits(address) is admitted


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "intranet", "10.0.0.0-10.0.0.9"])
def test_a_wrong_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.split("/")[0]):
        parse_networks(f"127.0.0.0/8,{text}")


@properties
@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_a_wrapped_address_is_admitted_where_the_bare_one_is(address: IPv4Address) -> None:
    bare = Reach().admits(str(address))
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        assert Reach().admits(str(IPv6Address(int(ip_address(prefix)) | int(address)))) is bare
    assert Reach().admits(str(IPv6Address((0x2002 << 112) | (int(address) << 80) | 1))) is bare
