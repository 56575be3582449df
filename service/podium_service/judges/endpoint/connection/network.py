"""Find the way to a base URL that the environment and the judges file tell: proxies and trust.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count in either case, as do `SSL_CERT_FILE`
and `SSL_CERT_DIR`. They are read when a judge is opened. A judge on this machine is never asked
through a proxy, because a proxy cannot reach it.
"""

import ssl
from functools import lru_cache
from ipaddress import ip_address
from os import environ
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
import structlog

log = structlog.get_logger(__name__)


def find_proxy(base_url: str) -> str | None:
    """Return the URL of the proxy that leads to a base URL; None for a direct connection."""
    parts, proxies = urlsplit(base_url), getproxies()
    host = parts.hostname or ""
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    address = host if parts.port is None else f"{host}:{parts.port}"
    if not proxy or is_loopback(host) or proxy_bypass(address):
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(url).scheme not in ("http", "https"):
        # Its address is not logged, because it may hold a password.
        log.warning("proxy_ignored", base_url=base_url, detail="only http and https proxies work")
        return None
    return url


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its address or by the name `localhost`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def trusted_certificates(ca_file: str | None) -> ssl.SSLContext:
    """Return what servers are checked against: the usual authorities, and those in `ca_file`.

    The usual ones are those of the system, or of `SSL_CERT_FILE` or `SSL_CERT_DIR` if set.

    Raises:
        OSError: If `ca_file` or a file that the environment names cannot be read, or holds no
            certificate (then it is an `ssl.SSLError`).
    """
    named = (environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR"))
    return _load_certificates(ca_file, named)


@lru_cache(maxsize=16)  # because reading the usual ones takes 20 ms, and judges share them
def _load_certificates(ca_file: str | None, named: tuple[str | None, str | None]) -> ssl.SSLContext:
    context = httpx2.create_ssl_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context
