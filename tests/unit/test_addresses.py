"""The address rule holds for every way of writing an address that is not public."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.addresses import is_permitted

# IANA's special-purpose address registries (RFC 6890) as of November 2025: each block with its
# flag "Globally Reachable", an oracle that is not Python's. None is "N/A".
REGISTRY_4 = {
    "0.0.0.0/8": False,
    "0.0.0.0/32": False,
    "10.0.0.0/8": False,
    "100.64.0.0/10": False,
    "127.0.0.0/8": False,
    "169.254.0.0/16": False,
    "172.16.0.0/12": False,
    "192.0.0.0/24": False,
    "192.0.0.0/29": False,
    "192.0.0.8/32": False,
    "192.0.0.9/32": True,  # Port Control Protocol anycast
    "192.0.0.10/32": True,  # TURN anycast
    "192.0.0.170/32": False,
    "192.0.0.171/32": False,
    "192.0.2.0/24": False,
    "192.31.196.0/24": True,
    "192.52.193.0/24": True,
    "192.88.99.0/24": None,
    "192.88.99.2/32": False,
    "192.168.0.0/16": False,
    "192.175.48.0/24": True,
    "198.18.0.0/15": False,
    "198.51.100.0/24": False,
    "203.0.113.0/24": False,
    "240.0.0.0/4": False,
    "255.255.255.255/32": False,
}
REGISTRY_6 = {
    "::1/128": False,
    "::/128": False,
    "::ffff:0:0/96": False,  # by the embedded address
    "64:ff9b::/96": True,  # by the embedded address
    "64:ff9b:1::/48": False,
    "100::/64": False,
    "100:0:0:1::/64": False,
    "2001::/23": False,
    "2001::/32": None,
    "2001:1::1/128": True,  # Port Control Protocol anycast
    "2001:1::2/128": True,  # TURN anycast
    "2001:1::3/128": True,  # DNS-SD service registration anycast
    "2001:2::/48": False,
    "2001:3::/32": True,  # automatic multicast tunnelling
    "2001:4:112::/48": True,  # AS112
    "2001:10::/28": None,
    "2001:20::/28": True,  # ORCHIDv2: identifiers, never routed
    "2001:30::/28": True,  # drone remote identification
    "2001:db8::/32": False,
    "2002::/16": None,  # by the embedded address
    "2620:4f:8000::/48": True,
    "3fff::/20": False,
    "5f00::/16": False,
    "fc00::/7": False,
    "fe80::/10": False,
}
# Multicast, and site-local addresses, which RFC 3879 deprecates, are in other registries.
NOT_UNICAST = ["224.0.0.0/4", "ff00::/8", "fec0::/10"]
# Judged by the address embedded in them.
BY_EMBEDDED = ["::ffff:0:0/96", "64:ff9b::/96", "2002::/16"]
# IETF protocol assignments: refused whole, since no web page is served from an anycast address of
# one's own network or from an identifier.
PROTOCOL = [ip_network(text) for text in ("192.0.0.0/24", "2001::/23")]
REGISTRY = {
    ip_network(text): reachable for text, reachable in {**REGISTRY_4, **REGISTRY_6}.items()
} | {ip_network(text): False for text in NOT_UNICAST}
REFUSED = [
    block
    for block, reachable in REGISTRY.items()
    if str(block) not in BY_EMBEDDED and not reachable
] + PROTOCOL
REACHABLE = [
    block
    for block, reachable in REGISTRY.items()
    if reachable
    and str(block) not in BY_EMBEDDED
    and not any(block.version == net.version and block.subnet_of(net) for net in PROTOCOL)  # type: ignore[arg-type]
]
PRIVATE_4 = [block for block in REFUSED if isinstance(block, IPv4Network)]
PRIVATE_6 = [block for block in REFUSED if isinstance(block, IPv6Network)]
METADATA = [
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
]
PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]

private_4 = st.sampled_from(PRIVATE_4).flatmap(lambda net: st.ip_addresses(network=net))
private_6 = st.sampled_from(PRIVATE_6).flatmap(lambda net: st.ip_addresses(network=net))


def embeddings(address: IPv4Address) -> dict[str, IPv6Address]:
    low = int(address)
    public = int(IPv4Address("65.54.227.120"))
    local = int(IPv6Address("64:ff9b:1::"))
    return {
        "mapped": IPv6Address(0xFFFF << 32 | low),
        "compatible": IPv6Address(low),
        "nat64": IPv6Address(int(IPv6Address("64:ff9b::")) | low),
        # RFC 6052 leaves bits 64 to 71 zero, so that the shorter prefixes split the address.
        "local nat64 /48": IPv6Address(local | low >> 16 << 64 | (low & 0xFFFF) << 40),
        "local nat64 /56": IPv6Address(local | low >> 24 << 64 | (low & 0xFFFFFF) << 32),
        "local nat64 /64": IPv6Address(local | low << 24),
        "local nat64 /96": IPv6Address(local | low),
        "6to4": IPv6Address(0x2002 << 112 | low << 80 | 1),
        "teredo client": IPv6Address(0x20010000 << 96 | public << 64 | low ^ 0xFFFFFFFF),
        "teredo server": IPv6Address(0x20010000 << 96 | low << 64 | public ^ 0xFFFFFFFF),
        "isatap": IPv6Address(int(IPv6Address("2606:4700::")) | 0x5EFE << 32 | low),
        "isatap global": IPv6Address(int(IPv6Address("2606:4700::")) | 0x02005EFE << 32 | low),
    }


@pytest.mark.parametrize("block", REFUSED, ids=str)
def test_no_end_of_a_special_purpose_block_is_dialled_in_any_form(
    block: IPv4Network | IPv6Network,
) -> None:
    for address in (block[0], block[-1], block[block.num_addresses // 2]):
        assert not is_permitted(address), address
        if isinstance(address, IPv4Address):
            forms = embeddings(address)
            assert [name for name, form in forms.items() if is_permitted(form)] == []


@pytest.mark.parametrize("block", REACHABLE, ids=str)
def test_globally_reachable_special_purpose_blocks_are_dialled(
    block: IPv4Network | IPv6Network,
) -> None:
    assert is_permitted(block[1])


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
