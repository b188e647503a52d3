import pytest

from builds.engines.base_images.addresses import (
    AddressPolicy,
    AddressRefused,
    NameUnknown,
    current_policy,
    endpoints,
    own_ipv6_addresses,
)
from builds.engines.sandbox.networks import own_addresses

OPEN = ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"]
CLOSED = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.9.10",
    "169.254.169.254",
    "172.16.0.1",
    "168.63.129.16",
    "192.0.0.8",
    "192.88.99.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "100::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "not an address",
]


def policy(**names: list[str]) -> AddressPolicy:
    return current_policy(
        endpoints("named.test:5000"),
        ["8.8.8.0/24"],
        resolve=lambda host, _: names.get(host, [host]),
    )


@pytest.mark.parametrize("address", OPEN)
def test_global_addresses_are_open(address: str) -> None:
    assert policy().addresses(address, 443) == [address]


@pytest.mark.parametrize("address", CLOSED)
def test_others_are_closed_whatever_form_they_come_in(address: str) -> None:
    with pytest.raises(AddressRefused):
        policy(name=[address]).addresses("name", 443)


def test_addresses_of_this_machine_and_denied_networks_are_closed() -> None:
    for address in [*own_addresses(), *own_ipv6_addresses(), "8.8.8.8"]:
        with pytest.raises(AddressRefused):
            policy().addresses(address, 443)


def test_only_the_open_ones_of_several_addresses_are_tried() -> None:
    assert policy(two=["127.0.0.1", OPEN[0]]).addresses("two", 80) == [OPEN[0]]


def test_a_configured_place_may_have_any_address_on_its_port_only() -> None:
    known = policy(**{"named.test": ["10.0.0.1"]})
    assert known.addresses("Named.test.", 5000) == ["10.0.0.1"]
    with pytest.raises(AddressRefused):
        known.addresses("named.test", 5001)
    with pytest.raises(AddressRefused):
        known.addresses("10.0.0.1", 5000)


def test_a_name_without_an_address_is_unknown() -> None:
    with pytest.raises(NameUnknown):
        policy(gone=[]).addresses("gone", 443)


def test_a_registry_without_a_port_means_those_of_the_web() -> None:
    assert endpoints("a.test") == {("a.test", 443), ("a.test", 80)}
    assert endpoints("[::1]:5000") == {("::1", 5000)}
    assert endpoints("a:b:c") == frozenset()
