"""Refuse requests that were sent to another name than the service's own (DNS rebinding).

A page of a stranger can point its own name at 127.0.0.1, and then ask a service there as if it were
its own server. A service without keys would answer. It must ask by that name, though, which the
`Host` header tells. An address cannot be pointed anywhere, so that addresses are always accepted:
health probes of Kubernetes ask by them.

A service that wants a key on every request is safe from this, because the stranger's page has no
key, and a session's cookie belongs to another name. Names are not checked there unless
`--allowed-host` lists some, so that proxies and containers need no settings.
"""

from collections.abc import Collection
from ipaddress import ip_address

from podium_service.errors import HostNotAllowed


def host_name(header: str) -> str:
    """Return the name in a `Host` header, in lower case, without its port."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).rstrip(".")


def is_known_host(header: str, allowed: Collection[str]) -> bool:
    """Return whether a `Host` header names this machine, an address, or one of the allowed.

    A request without the header is accepted: some health checks send none, and every browser does.
    """
    name = host_name(header)
    if not name or name == "localhost" or name.endswith(".localhost") or name in allowed:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def unknown_host(header: str) -> HostNotAllowed:
    """Return the error that says what to do about a name."""
    name = repr(host_name(header)[:128])
    return HostNotAllowed(
        f"host {name} is not a name of this service: ask it by its address, or start it with "
        f"--allowed-host {name}"
    )
