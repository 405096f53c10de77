"""The address rule holds for every way of writing an address that is not public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.scraper.addresses import is_permitted

# IANA's special-purpose registries, by hand, as an oracle that is not Python's.
PRIVATE_4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 "
        "192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
        "224.0.0.0/4 240.0.0.0/4 255.255.255.255/32"
    ).split()
]
PRIVATE_6 = [
    IPv6Network(text)
    for text in (
        "::/128 ::1/128 64:ff9b:1::/48 100::/64 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 "
        "fe80::/10 fec0::/10 ff00::/8"
    ).split()
]
METADATA = ["169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"]
PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]

private_4 = st.sampled_from(PRIVATE_4).flatmap(lambda net: st.ip_addresses(network=net))
private_6 = st.sampled_from(PRIVATE_6).flatmap(lambda net: st.ip_addresses(network=net))


def embeddings(address: IPv4Address) -> dict[str, IPv6Address]:
    low = int(address)
    public = int(IPv4Address("65.54.227.120"))
    return {
        "mapped": IPv6Address(0xFFFF << 32 | low),
        "compatible": IPv6Address(low),
        "nat64": IPv6Address(int(IPv6Address("64:ff9b::")) | low),
        "6to4": IPv6Address(0x2002 << 112 | low << 80 | 1),
        "teredo client": IPv6Address(0x20010000 << 96 | public << 64 | low ^ 0xFFFFFFFF),
        "teredo server": IPv6Address(0x20010000 << 96 | low << 64 | public ^ 0xFFFFFFFF),
        "isatap": IPv6Address(int(IPv6Address("2606:4700::")) | 0x5EFE << 32 | low),
        "isatap global": IPv6Address(int(IPv6Address("2606:4700::")) | 0x02005EFE << 32 | low),
    }


@given(private_4)
def test_a_private_ipv4_address_is_refused_in_every_form(address: IPv4Address) -> None:
    assert not is_permitted(address)
    assert [name for name, form in embeddings(address).items() if is_permitted(form)] == []


@given(private_6)
def test_a_private_ipv6_address_is_refused(address: IPv6Address) -> None:
    assert not is_permitted(address)


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_outside_the_allocated_space_is_dialled(address: IPv6Address) -> None:
    v4_forms = (IPv6Network("::/96"), IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
    if is_permitted(address) and not any(address in network for network in v4_forms):
        assert address in IPv6Network("2000::/3")


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_permitted(text: str) -> None:
    assert is_permitted(ip_address(text))


@pytest.mark.parametrize("form", ["mapped", "compatible", "nat64", "6to4", "isatap"])
def test_forms_of_a_public_address_are_permitted(form: str) -> None:
    assert is_permitted(embeddings(IPv4Address("1.1.1.1"))[form])


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_an_opened_network_is_permitted_and_no_other(address: IPv4Address) -> None:
    opened = (IPv4Network("10.0.0.0/8"),)
    assert is_permitted(address, opened)
    assert is_permitted(embeddings(address)["mapped"], opened)
    assert not is_permitted(address, (IPv4Network("192.168.0.0/16"), IPv6Network("::/0")))


def test_ipv6_loopback_can_be_opened() -> None:
    assert is_permitted(IPv6Address("::1"), (IPv6Network("::1/128"),))


@pytest.mark.parametrize("text", METADATA)
def test_metadata_addresses_cannot_be_opened(text: str) -> None:
    everything = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    address = ip_address(text)
    assert not is_permitted(address, everything)
    if isinstance(address, IPv4Address):
        assert not any(is_permitted(form, everything) for form in embeddings(address).values())


def test_a_scope_does_not_hide_a_link_local_address() -> None:
    assert not is_permitted(ip_address("fe80::1%eth0"))
