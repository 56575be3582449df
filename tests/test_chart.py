"""docker/chart cannot be installed here: what it names is checked against the project instead."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from podium_service.cli.main import app
from podium_service.http.server.defaults import GRACE_S
from podium_service.judges import judges_file, settings

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
CHART = DOCKER / "chart"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
SERVICE = (CHART / "templates/service.yaml").read_text()
JUDGE = (CHART / "templates/judge.yaml").read_text()
RAY = (CHART / "templates/ray.yaml").read_text()
HELPERS = (CHART / "templates/_helpers.tpl").read_text()


def names_of(templates: str) -> set[str]:
    """Return the dotted names below `.Values` that templates read."""
    return set(re.findall(r"\.Values\.([\w.]+)", templates))


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the default values with one changed."""
    values = copy.deepcopy(VALUES)
    *sections, name = path.split(".")
    inner = values
    for section in sections:
        inner = inner[section]
    inner[name] = value
    return values


def test_the_chart_s_values_match_its_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("service.replicas", 0),
        ("service.replica", 2),
        ("service.image.tag", "latest"),
        ("service.secret", ""),
        ("judgePool.gpus", 0),
        ("judgePool.models.size", "200"),
        ("judges.judges", {}),
        ("ray.workers.gpus", 0),
        ("ray.rayVersion", "latest"),
        ("ray.runs.size", "500"),
    ],
)
def test_the_schema_refuses_wrong_values(path: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(path, value), SCHEMA)


def within(section: str, template: str) -> set[str]:
    """Return the dotted names that a template reads within the block of a section."""
    names = set(re.findall(r"(?<=[\s(])\.(\w[\w.]*)", template))
    return {f"{section}.{name}" for name in names if not name.startswith("Values.")}


def test_templates_read_only_values_that_exist() -> None:
    names = names_of(SERVICE + HELPERS + JUDGE + RAY)
    names |= within("judgePool", JUDGE) | within("ray", RAY)
    assert len(names) > 30
    for name in names:
        inner: Any = VALUES
        for part in name.split("."):
            assert part in inner, f"{name} is no value"
            inner = inner[part]


def test_the_judges_of_the_chart_load(tmp_path: Path) -> None:
    judges = copy.deepcopy(VALUES["judges"])
    pool = VALUES["judgePool"]
    url = re.search(r'printf "(http://\S+)"', HELPERS)
    assert url
    named = url[1] % ("podium", 0, "podium")
    judges["judges"][pool["judge"]]["base_urls"] = [named]
    path = tmp_path / "judges.yaml"
    path.write_text(yaml.safe_dump(judges))
    judge = judges_file.load(path).judges[judges["default_judge"]]
    assert isinstance(judge, settings.LLMJudge)
    assert named == "http://podium-judge-0.podium-judge:8000/v1"


def test_the_chart_s_command_and_variables_are_the_service_s() -> None:
    command = re.search(r"args: \[podium, (\w+)\]", SERVICE)
    assert command
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {option.envvar for option in commands[command[1]].params}
    assert set(re.findall(r"name: (PODIUM_\w+)", SERVICE)) <= known
    assert "port: 8000" in SERVICE
    for path in ("/livez", "/readyz"):
        assert f"httpGet: {{path: {path}, port: http}}" in SERVICE


def test_a_stopping_pod_outlasts_drain_and_grace() -> None:
    service = VALUES["service"]
    assert service["graceS"] == GRACE_S
    added = re.search(
        r"terminationGracePeriodSeconds: {{ add \.Values\.service\.drainS "
        r"\.Values\.service\.graceS (\d+) }}",
        SERVICE,
    )
    assert added
    assert int(added[1]) >= 10


def test_pods_are_closed_and_roll_with_their_judges() -> None:
    assert "checksum/judges:" in SERVICE
    # A Service of the release's name sets PODIUM_PORT=tcp://..., which `podium serve` would read.
    assert "enableServiceLinks: false" in HELPERS
    assert "runAsNonRoot: true" in HELPERS
    user = re.search(r"runAsUser: (\d+)", HELPERS)
    assert user
    for name in ("service.Dockerfile", "trainer.Dockerfile", "ray.Dockerfile"):
        assert f"--uid {user[1]} podium" in (DOCKER / name).read_text()
    for text in (SERVICE, JUDGE, RAY):
        assert 'include "podium.pod"' in text
    for text in (SERVICE, JUDGE, HELPERS):
        assert 'include "podium.container"' in text
    assert "readOnlyRootFilesystem: true" in SERVICE


def test_the_chart_starts_the_model_of_the_compose_judge() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["judge"]["command"]
    pool = VALUES["judgePool"]
    judge = VALUES["judges"]["judges"][pool["judge"]]
    assert compose == ["--model", judge["model"], *pool["args"]]


def test_the_chart_s_machines_have_what_a_run_needs() -> None:
    dockerfile = (DOCKER / "ray.Dockerfile").read_text()
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert VALUES["ray"]["rayVersion"] == pinned[1]
    assert "'.[trainer,ray]'" in dockerfile
    copied = re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE)
    assert all((ROOT / path).exists() for line in copied for path in line.split())
    images = [re.findall("VLLM_IMAGE=(.*)", (DOCKER / f"{name}.Dockerfile").read_text())
              for name in ("ray", "trainer")]  # fmt: skip
    assert images[0] == images[1] != []
    # What the pods are given is what the programs read.
    assert RAY.count('include "podium.ray" ') == RAY.count('include "podium.rayVolumes" ') == 2
    assert {"PODIUM_URL", "PODIUM_API_KEY"} <= set(re.findall(r"name: (PODIUM_\w+)", HELPERS))
    assert 'num-cpus: "0", num-gpus: "0"' in RAY
