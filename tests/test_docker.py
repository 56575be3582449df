"""docker/ cannot be built here: what it names is checked against the project instead."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from service import config
from service.cli import app
from service.database import open_engine
from service.schemas import DEFAULT_DEADLINE_S

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "docker/service.Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())


def serve_options() -> dict[str, Any]:
    """Environment variable -> default of `podium serve`."""
    command = typer.main.get_command(app)
    serve = command.commands["serve"]  # type: ignore[attr-defined]
    return {option.envvar: option.default for option in serve.params if option.envvar}


def test_every_path_that_is_copied_exists() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_image_runs_as_a_user_who_is_not_root_with_certificates() -> None:
    user = re.search(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert user
    assert user[1] != "root"
    assert f"useradd --create-home --uid 10001 {user[1]}" in DOCKERFILE
    assert "ca-certificates" in DOCKERFILE


def test_the_command_is_one_that_the_package_installs() -> None:
    command = re.search(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    assert command
    script, subcommand = (word.strip().strip('"') for word in command[1].split(","))
    assert f'{script} = "service.__main__:main"' in (ROOT / "pyproject.toml").read_text()
    assert subcommand in typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_the_variables_are_those_that_serve_reads() -> None:
    line = re.search(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)
    assert line
    named = {pair.split("=")[0] for pair in shlex.split(line[1])}
    named |= set(COMPOSE["services"]["service"]["environment"])
    assert named <= set(serve_options())


def test_the_ports_agree() -> None:
    port = serve_options()["PODIUM_PORT"]
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert f"PODIUM_PORT={port}" in DOCKERFILE
    assert f"http://127.0.0.1:{port}/livez" in DOCKERFILE
    assert COMPOSE["services"]["service"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_compose_builds_the_dockerfile_and_mounts_a_judges_file_that_loads() -> None:
    service = COMPOSE["services"]["service"]
    assert (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    source, target, _ = service["volumes"][0].split(":")
    mounted = Path(service["environment"]["PODIUM_CONFIG"]).relative_to(target)
    loaded = config.load(ROOT / "docker" / source / mounted)
    assert isinstance(loaded.judges["local"], config.LLMJudge)


def test_the_judge_that_compose_starts_is_the_one_configured() -> None:
    judge = config.load(ROOT / "docker/judges.yaml").judges["local"]
    assert isinstance(judge, config.LLMJudge)
    started = COMPOSE["services"]["judge"]
    assert started["command"][:2] == ["--model", judge.model]
    assert [url.host for url in judge.base_urls] == ["judge"]
    assert started["profiles"] == ["gpus"]


def test_the_store_url_reaches_the_postgres_that_compose_starts() -> None:
    url = COMPOSE["services"]["service"]["environment"]["PODIUM_STORE"]
    engine = open_engine(re.sub(r"\$\{.*?\}", "secret", url))
    postgres = COMPOSE["services"]["postgres"]["environment"]
    assert engine.url.drivername == "postgresql+psycopg"
    assert (engine.url.host, engine.url.database) == ("postgres", postgres["POSTGRES_DB"])
    assert engine.url.username == postgres["POSTGRES_USER"]


def test_a_stopping_container_has_time_for_the_longest_default_deadline() -> None:
    grace = COMPOSE["services"]["service"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > DEFAULT_DEADLINE_S


@pytest.mark.parametrize("name", ["service", "postgres", "judge"])
def test_every_service_comes_back_after_a_crash(name: str) -> None:
    assert COMPOSE["services"][name]["restart"] == "unless-stopped"
