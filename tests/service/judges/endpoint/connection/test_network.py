"""Judges behind proxies and private authorities are reached; the environment tells the way."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from podium_service.errors import JudgeUnavailable
from podium_service.judges.endpoint.connection.network import find_proxy
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.endpoint.patience import Patience
from tests.fakes import ScriptedJudge, says
from tests.service.judges.builders import dialect_at

pytestmark = pytest.mark.anyio

CALL: dict[str, Any] = {"model": "m", "messages": []}
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def ask(url: str, **settings: Any) -> str:
    """Return what the judge at a URL says to one call."""
    endpoint = Endpoint(url, dialect_at(url, **settings))
    try:
        return (await endpoint.complete(CALL, Patience(5.0))).text
    finally:
        await endpoint.aclose()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def forwarding(
    port: int, certificate: Path | None = None, *, tunnel: bool = False
) -> AsyncIterator[tuple[int, list[str]]]:
    """Forward connections to a local port, and yield the own port and what was asked for.

    With a certificate it takes TLS; as a tunnel it is a proxy that waits for CONNECT.
    """
    heads: list[str] = []
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if tunnel:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pipe(reader, other_writer), _pipe(other_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate, for this machine and for judge.example."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    key, file = folder / "key.pem", folder / "both.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=j",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:judge.example", "-keyout", key, "-out", file],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + key.read_text())
    return file


def port_of(judge: ScriptedJudge) -> int:
    return int(judge.url.rpartition(":")[2].partition("/")[0])


async def test_an_unknown_authority_is_not_trusted(certificate: Path) -> None:
    async with (
        ScriptedJudge().serving() as judge,
        forwarding(port_of(judge), certificate) as (port, _),
    ):
        with pytest.raises(JudgeUnavailable, match="certificate verify failed"):
            await ask(f"https://127.0.0.1:{port}/v1")


@pytest.mark.parametrize("way", ["ca_file", "SSL_CERT_FILE"])
async def test_an_authority_that_is_named_is_trusted(
    way: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"ca_file": str(certificate)} if way == "ca_file" else {}
    if not settings:
        monkeypatch.setenv(way, str(certificate))
    async with (
        ScriptedJudge(always=says("hello")).serving() as judge,
        forwarding(port_of(judge), certificate) as (port, _),
    ):
        assert await ask(f"https://127.0.0.1:{port}/v1", **settings) == "hello"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_asked(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedJudge(always=says("hello")).serving() as proxy:
        monkeypatch.setenv(variable, f"http://user:pass@127.0.0.1:{port_of(proxy)}")
        assert await ask("http://judge.example/v1") == "hello"
    [asked] = proxy.asked
    assert asked.path == "http://judge.example/v1/chat/completions"
    assert asked.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    assert asked.headers["authorization"] == "Bearer none"


async def test_a_tunnel_through_a_proxy_is_encrypted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ScriptedJudge(always=says("hello")).serving() as judge,
        forwarding(port_of(judge), certificate) as (tls_port, _),
        forwarding(tls_port, tunnel=True) as (proxy_port, heads),
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy_port}")
        text = await ask("https://judge.example/v1", ca_file=str(certificate))
    assert text == "hello"
    assert heads[0].startswith("CONNECT judge.example:443 ")
    assert "none" not in heads[0]  # the key is for the judge alone


async def test_a_proxy_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(JudgeUnavailable, match=r"cannot be reached .*'127\.0\.0\.1', 9") as caught:
        await ask("http://judge.example/v1")
    assert not caught.value.unanswered


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("http://judge.example/v1", "", "http://proxy:1"),
        ("https://judge.example/v1", "", "http://proxy:2"),
        ("https://judge.example/v1", "other.example", "http://proxy:2"),
        ("https://judge.example/v1", "judge.example", None),
        ("https://eu.judge.example:8443/v1", ".judge.example", None),
        ("https://judge.example/v1", "*", None),
        ("http://10.0.0.7:8000/v1", "10.0.0.7", None),
        ("http://localhost:8000/v1", "", None),
        ("http://127.0.0.1:8000/v1", "", None),
        ("http://[::1]:8000/v1", "", None),
    ],
)
def test_a_proxy_is_asked_for_what_it_can_reach(
    url: str, no_proxy: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:2")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert find_proxy(url) == proxy


def test_a_proxy_of_another_kind_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    assert find_proxy("https://judge.example/v1") is None
