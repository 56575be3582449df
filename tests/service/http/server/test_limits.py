"""The server's limits over TCP, where a body can be refused before it is read."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.schemas import MAX_BODY_BYTES
from tests.service.helpers import group
from tests.service.process import Podium, running

pytestmark = pytest.mark.anyio
REFERENCE = {"reference": "5"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podium]:
    with running(cwd=tmp_path_factory.mktemp("server")) as process:
        yield process


def connect(server: Podium) -> socket.socket:
    assert server.url
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=10)


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def read_response(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of the next response."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, json.loads(stream.read(length))


def read_last_problem(connection: socket.socket) -> tuple[int, str]:
    """Return the status and the code of the last response of a connection."""
    status, problem = read_response(connection)
    assert connection.recv(1) == b""
    return status, problem["code"]


def assert_others_are_answered(server: Podium) -> None:
    asked = group("5", "6", **REFERENCE)
    answer = httpx.post(f"{server.url}/rank", json=asked, trust_env=False, timeout=30)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/rank", "/rank/batch"])
def test_a_body_of_100_MB_is_refused_before_it_is_read(server: Podium, path: str) -> None:
    with connect(server) as connection:
        connection.sendall(head(path, "Content-Length: 100000000") + b"[" * 4096)
        status, problem = read_response(connection)
        assert (status, problem["code"]) == (413, "body_too_large")
        assert "content-length is 100000000: at most" in problem["detail"]
        assert_others_are_answered(server)


def test_a_chunked_body_is_refused_once_it_is_over_the_limit(server: Podium) -> None:
    chunk = b"%x\r\n" % 2**20 + b"[" * 2**20 + b"\r\n"
    with connect(server) as connection:
        connection.sendall(head("/rank", "Transfer-Encoding: chunked"))
        for _ in range(MAX_BODY_BYTES // 2**20 + 1):
            connection.sendall(chunk)
        status, problem = read_response(connection)  # although the last chunk was never sent
        assert (status, problem["code"]) == (413, "body_too_large")
        assert_others_are_answered(server)


def test_a_body_that_stops_halfway_delays_no_other_request(server: Podium) -> None:
    with connect(server) as connection:
        connection.sendall(head("/rank", "Content-Length: 1000") + b"[")
        assert_others_are_answered(server)


@pytest.mark.parametrize("lines", [["X: " + "x" * 70_000], ["X: x"] * 12_000], ids=["one", "many"])
@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["going on", "whole"])
def test_headers_of_70_kB_are_refused(server: Podium, lines: list[str], end: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(head("/rank", *lines).removesuffix(b"\r\n"))
        if not end:
            connection.sendall(b"X: " + b"x" * 300_000)
        connection.sendall(end)
        assert read_last_problem(connection) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        head("/rank", "Content-Length: x"),
        head("/rank", "Content-Length: -1"),
        head("/rank", "Content-Length: 3", "Content-Length: 4") + b"{}  ",
        head("/rank", "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("/rank", "X\0: 1"),
        b"POST /rank HTTP/9.9\r\nHost: localhost\r\n\r\n",
    ],
    ids=["TLS", "length x", "length -1", "two lengths", "CL+TE", "NUL", "HTTP/9.9"],
)
def test_bytes_that_are_not_http_get_a_problem(server: Podium, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        assert read_last_problem(connection) == (400, "malformed_request")


@pytest.mark.parametrize("chunk", [b"zz\r\n{}\r\n", b"-1\r\n\r\n", b"2\r\n{}{}\r\n"])
def test_a_chunk_with_a_wrong_length_is_refused(server: Podium, chunk: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(head("/rank", "Transfer-Encoding: chunked") + chunk)
        assert read_last_problem(connection) == (400, "malformed_request")
    assert_others_are_answered(server)


def test_a_client_that_still_sends_can_read_the_refusal(server: Podium) -> None:
    with connect(server) as connection:
        connection.sendall(head("/rank", "Connection: close", "Content-Length: 30000000"))
        for _ in range(30):
            connection.sendall(b"[" * 1_000_000)
        assert read_last_problem(connection) == (413, "body_too_large")


def test_an_upgrade_request_is_served_with_its_own_body(server: Podium) -> None:
    hidden = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    upgrade = ("Connection: upgrade", "Upgrade: h2c", f"Content-Length: {len(hidden)}")
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(head("/rank", *upgrade) + hidden)
            status, problem = read_response(connection)
            assert (status, problem["code"]) == (400, "malformed_json")
    assert not [line for line in server.logs if line["level"] == "warning"]


def test_connections_over_the_limit_get_retry_after(tmp_path: Path) -> None:
    with running("--max-connections", "3", cwd=tmp_path) as process:
        held = [connect(process) for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_response(connection)[0] == 200
        with connect(process) as one_more:
            assert b"retry-after: 1" in one_more.recv(4096).partition(b"\r\n\r\n")[0]
        held.pop().close()
        while True:  # until the server has noticed that one was closed
            with connect(process) as one_more:
                one_more.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                status, _ = read_response(one_more)
                assert status in (200, 429)
                if status == 200:
                    break
        for connection in held:
            connection.close()
