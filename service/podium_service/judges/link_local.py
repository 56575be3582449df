"""Tell whether an address is link-local, where no judge may be asked.

Clouds serve an instance's credentials at such addresses, so a URL from outside must not lead there.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# IPv6 networks whose last 32 bits are an IPv4 address: compatible, mapped, SIIT and NAT64.
_HOLD_IPV4 = tuple(
    IPv6Network(f"{prefix}/96") for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::")
)


def is_link_local(host: str) -> bool:
    """Tell whether `host` is a link-local address, as itself or inside an IPv6 address."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    addresses = [address]
    if isinstance(address, IPv6Address):  # a gateway may translate it to one of these
        addresses += [address.sixtofour or address, *(address.teredo or ())]
        if any(address in network for network in _HOLD_IPV4):
            addresses.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return any(each.is_link_local for each in addresses)
