"""docker/ cannot be built here: what it names is checked against the project instead."""

import json
import os
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from psycopg.pq import Conninfo

from podium_service.cli.main import app
from podium_service.http.access.api_key import required_scope
from podium_service.http.server.defaults import GRACE_S
from podium_service.judges import judges_file, settings
from podium_service.schemas import DEFAULT_DEADLINE_S
from podium_service.store.database.engine import open_engine
from podium_trainer.config import TrainConfig
from podium_trainer.tasks import open_task
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import client, group, llm, service

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "docker/service.Dockerfile").read_text()
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker/grafana-dashboard.json").read_text())
COMPOSE_TEXT = (ROOT / "docker/compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)


def serve_options() -> dict[str, Any]:
    """Return environment variable -> default of `podium serve`."""
    command = typer.main.get_command(app)
    serve = command.commands["serve"]  # type: ignore[attr-defined]
    return {option.envvar: option.default for option in serve.params if option.envvar}


def test_every_copied_path_exists() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_image_runs_without_root_and_with_certificates() -> None:
    user = re.search(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert user
    assert user[1] != "root"
    assert f"useradd --create-home --uid 10001 {user[1]}" in DOCKERFILE
    assert "ca-certificates" in DOCKERFILE


def test_the_package_installs_the_command_of_the_image() -> None:
    command = re.search(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    assert command
    script, subcommand = (word.strip().strip('"') for word in command[1].split(","))
    assert f'{script} = "podium_service.__main__:main"' in (ROOT / "pyproject.toml").read_text()
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


def test_compose_mounts_a_judges_file_that_loads() -> None:
    service = COMPOSE["services"]["service"]
    assert (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    source, target, _ = service["volumes"][0].split(":")
    mounted = Path(service["environment"]["PODIUM_CONFIG"]).relative_to(target)
    loaded = judges_file.load(ROOT / "docker" / source / mounted)
    assert isinstance(loaded.judges["local"], settings.LLMJudge)


def test_the_judges_file_names_the_compose_judge() -> None:
    judge = judges_file.load(ROOT / "docker/judges.yaml").judges["local"]
    assert isinstance(judge, settings.LLMJudge)
    started = COMPOSE["services"]["judge"]
    assert started["command"][:2] == ["--model", judge.model]
    assert [url.host for url in judge.base_urls] == ["judge"]
    assert started["profiles"] == ["gpus", "train"]


def test_the_store_url_names_the_compose_postgres() -> None:
    url = COMPOSE["services"]["service"]["environment"]["PODIUM_STORE"]
    engine = open_engine(re.sub(r"\$\{.*?\}", "secret", url))
    postgres = COMPOSE["services"]["postgres"]["environment"]
    assert engine.url.drivername == "postgresql+psycopg"
    assert (engine.url.host, engine.url.database) == ("postgres", postgres["POSTGRES_DB"])
    assert engine.url.username == postgres["POSTGRES_USER"]


def test_a_stopping_container_outlasts_the_grace_period() -> None:
    grace = COMPOSE["services"]["service"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > GRACE_S + 2 > DEFAULT_DEADLINE_S


@pytest.mark.parametrize("name", sorted({*COMPOSE["services"]} - {"trainer"}))
def test_every_compose_service_restarts_after_a_crash(name: str) -> None:
    assert COMPOSE["services"][name]["restart"] == "unless-stopped"


TRAINER_DOCKERFILE = (ROOT / "docker/trainer.Dockerfile").read_text()
RECIPE = TrainConfig.model_validate(yaml.safe_load((ROOT / "docker/train.yaml").read_text()))


def test_the_trainer_image_copies_existing_paths_and_commands() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", TRAINER_DOCKERFILE, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    command = re.search(
        r'^ENTRYPOINT \["with-secrets", "podium-train"\]$', TRAINER_DOCKERFILE, re.MULTILINE
    )
    assert command
    assert 'podium-train = "podium_trainer.__main__:main"' in (ROOT / "pyproject.toml").read_text()
    assert "useradd --create-home --uid 10001 podium" in TRAINER_DOCKERFILE
    assert re.search(r"^USER podium$", TRAINER_DOCKERFILE, re.MULTILINE)


def test_the_trainer_stage_does_not_install_vllm() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", TRAINER_DOCKERFILE, re.MULTILINE)
    assert [name for _, name in stages] == ["vllm", "policy", "trainer"]
    assert "'.[trainer]'" in TRAINER_DOCKERFILE.split("AS trainer")[1]
    built = {
        name: COMPOSE["services"][name]["build"]["target"]
        for name in ("judge", "policy", "trainer")
    }
    assert built == {"judge": "vllm", "policy": "policy", "trainer": "trainer"}


def test_images_with_vllm_servers_have_the_plugin_of_weights() -> None:
    policy = TRAINER_DOCKERFILE.split("AS policy\n")[1].split("\nFROM")[0]
    assert "RUN python3 -m pip install --no-cache-dir --no-deps .\nUSER podium\n" in policy
    ray = (ROOT / "docker/ray.Dockerfile").read_text().split("\nUSER podium\n")[0]
    assert "\nRUN /usr/bin/python3 -m pip install --no-cache-dir --no-deps ." in ray


def test_the_compose_recipe_names_the_compose_servers() -> None:
    policy, trainer = COMPOSE["services"]["policy"], COMPOSE["services"]["trainer"]
    words = policy["command"]
    flags = {
        word: value
        for word, value in pairwise(words)
        if word.startswith("--") and not value.startswith("--")
    }
    assert flags["--model"] == RECIPE.model.path
    assert flags["--served-model-name"] == RECIPE.sampler.model_name
    assert RECIPE.model.lora
    assert RECIPE.model.lora.rank <= int(flags["--max-lora-rank"])
    assert RECIPE.max_staleness < int(flags["--max-loras"])
    assert RECIPE.sampler.max_tokens < int(flags["--max-model-len"])
    assert RECIPE.sampler.urls == ["http://policy:8000"]
    mounts = [volume.split(":")[1] for volume in policy["volumes"] + trainer["volumes"]]
    assert mounts.count(str(RECIPE.sampler.weights_dir)) == 2
    assert trainer["environment"]["PODIUM_URL"] == "http://service:8000"


def test_compose_mounts_the_recipe_and_the_prompts() -> None:
    trainer = COMPOSE["services"]["trainer"]
    source, target, _ = trainer["volumes"][0].split(":")
    [recipe] = trainer["command"]
    prompts = RECIPE.task.options["path"]
    for path in (recipe, prompts):
        assert (ROOT / "docker" / source / Path(path).relative_to(target)).is_file()
    here = ROOT / "docker" / Path(prompts).name
    assert len(open_task(RECIPE.task.name, {"path": str(here)}).train) == 4
    assert any(volume.endswith(f":{RECIPE.out.parent}") for volume in trainer["volumes"])


# secrets, GPUs and what a container may do


def test_every_secret_is_a_file_that_git_leaves_out() -> None:
    assert "/docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "docker/secrets" in (ROOT / ".dockerignore").read_text().splitlines()
    made = set(re.findall(r"for name in (.*); do", COMPOSE_TEXT)[0].split())
    made |= set(re.findall(r"docker/secrets/(\w+)", re.findall("touch (.*)", COMPOSE_TEXT)[0]))
    assert {name: f"./secrets/{name}" for name in made} == {
        name: secret["file"] for name, secret in COMPOSE["secrets"].items()
    }
    assert "${" not in COMPOSE_TEXT
    for each in COMPOSE["services"].values():
        if "./:/etc/podium:ro" in each.get("volumes", ()):
            assert "/etc/podium/secrets" in each["tmpfs"]  # the folder's own are hidden


def test_a_container_gets_its_secrets_as_variables(tmp_path: Path) -> None:
    (tmp_path / "podium_api_key").write_text("a 'b' $c\n")
    (tmp_path / "hf_token").write_text("")
    (tmp_path / "kubernetes.io").mkdir()
    script = [str(ROOT / "docker/with-secrets"), "env"]
    env = {"PATH": os.environ["PATH"], "SECRETS_DIR": str(tmp_path)}
    shown = subprocess.run(script, env=env, check=True, capture_output=True, text=True).stdout
    assert "PODIUM_API_KEY=a 'b' $c" in shown.splitlines()
    assert "HF_TOKEN" not in shown
    names = {
        each if isinstance(each, str) else each["target"]
        for name in ("service", "trainer")
        for each in COMPOSE["services"][name]["secrets"]
    }
    assert names == {"podium_api_key", "pgpassword", "hf_token"}
    read = {option.keyword: option.envvar for option in Conninfo.get_defaults()}
    assert read[b"password"] == b"PGPASSWORD"


def test_no_two_services_share_a_gpu() -> None:
    ids = {
        name: device["device_ids"]
        for name, service in COMPOSE["services"].items()
        for device in service["deploy"]["resources"].get("reservations", {}).get("devices", ())
    }
    assert ids == {"judge": ["0"], "policy": ["1"], "trainer": ["2"]}


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_container_is_pinned_bounded_and_unprivileged(name: str) -> None:
    service = COMPOSE["services"][name]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only") or name in ("judge", "policy")
    assert service["networks"]
    if image := service.get("image"):
        assert re.search(r":v?\d+\.\d+", image), f"{image} is not pinned"
    needed = service.get("depends_on", {})
    if isinstance(needed, dict):
        assert all(how == {"condition": "service_healthy"} for how in needed.values())
    for text in (DOCKERFILE, TRAINER_DOCKERFILE):
        for base in re.findall(r"^(?:FROM |ARG VLLM_IMAGE=)([\w/-]+:\S+)", text, re.MULTILINE):
            assert re.search(r":v?\d+\.\d+\.\d+", base), f"{base} is not pinned"


def test_only_the_trainer_reaches_the_policy() -> None:
    on = {name: service["networks"] for name, service in COMPOSE["services"].items()}
    assert {name for name in on if "policy" in on[name]} == {"policy", "trainer"}
    assert {name for name in on if "store" in on[name]} == {"postgres", "service"}
    assert set(COMPOSE["networks"]) == {network for each in on.values() for network in each}
    assert {name for name, service in COMPOSE["services"].items() if "ports" in service} == {
        "service",
        "grafana",
    }


# what watches it


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / "docker" / name).read_text())


def expressions() -> dict[str, str]:
    """Return what the dashboard asks Prometheus, by panel and target."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }


async def exposed(tmp_path: Path) -> dict[str, set[str]]:
    """Sample name -> its labels, of a service that has ranked; no labels where nothing happened."""
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        assert (await http.post("/rank", json=group("5", "five"))).is_success
        text = (await http.get("/metrics")).text
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        for suffix in suffixes.get(family.type, [""]):
            names[family.name + suffix] = set()
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


@pytest.mark.anyio
async def test_the_dashboard_asks_for_existing_series_and_labels(tmp_path: Path) -> None:
    names = await exposed(tmp_path)
    assert expressions()
    shown = set()
    for where, expression in expressions().items():
        found = re.findall(r"(podium_\w+)(?:\{([^}]*)\})?", expression)
        by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
        assert found, where
        for name, selector in found:
            shown.add(re.sub(r"_(total|bucket|sum|count)$", "", name))
            assert name in names, f"{where}: {name} is no series"
            asked = by | set(re.findall(r'(\w+)[=!]~?"', selector))
            assert asked <= names[name] or not names[name], f"{where}: {asked} of {name}"
        for name in re.findall(r"rate\((podium_\w+)", expression):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), f"{where}: a gauge"
    every = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in names}
    assert every - shown == set(), "not on the dashboard"


def test_grafana_can_import_the_dashboard() -> None:
    assert DASHBOARD["uid"]
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, f"{panel['title']} lies on another panel"
        assert at["x"] + at["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
    for variable in re.findall(r"\$(\w+)", " ".join(expressions().values())):
        assert variable in variables or variable == "__rate_interval"


def test_prometheus_reads_with_a_read_only_key() -> None:
    services = COMPOSE["services"]
    prometheus, grafana = services["prometheus"], services["grafana"]
    assert prometheus["profiles"] == grafana["profiles"] == ["observe"]
    [job] = read_yaml("prometheus.yaml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"service:{serve_options()['PODIUM_PORT']}"]}]
    [secret] = prometheus["secrets"]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    assert secret == "podium_metrics_key"
    assert secret not in services["service"]["secrets"]  # those have all scopes
    made = re.search(
        r"exec service with-secrets podium (keys create .*)$", COMPOSE_TEXT, re.MULTILINE
    )
    assert made
    assert made[1].split() == ["keys", "create", "metrics", "--scope", required_scope("/metrics")]
    mounts = dict(each.split(":")[:2] for each in prometheus["volumes"] + grafana["volumes"])
    files = {source: target for source, target in mounts.items() if source.startswith(".")}
    assert [source for source in files if not (ROOT / "docker" / source).is_file()] == []
    assert f"--config.file={files['./prometheus.yaml']}" in prometheus["command"]
    [source] = read_yaml("grafana/datasource.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = read_yaml("grafana/dashboards.yaml")["providers"]
    folder = Path(files["./grafana-dashboard.json"]).parent
    assert provider["options"]["path"] == str(folder)
    for image in (prometheus["image"], grafana["image"]):
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", image), f"{image} is not pinned"
