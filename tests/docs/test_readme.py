"""Every command and block of README.md, run as pasted in an empty folder.

What stands in for a text that cannot be pasted as it is: the port 8000 by a free one, the judge's
address by a scripted judge, the repository's address by this clone.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, blocks, run_blocks

README = ROOT / "README.md"
REPOSITORY = "https://git.example.com/podium.git"
MAKE = "Sixty seconds, without a key"
JUDGE = "Your own judge, in five minutes"
TRAINER = "Your own trainer, in five minutes"
TRAIN = "Train here"
TEAM = "For a team"


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an address of the committed repository; pip wants a host in it."""
    folder = tmp_path_factory.mktemp("repository") / "podium.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(folder)], check=True)
    return f"file://localhost{folder}"


def runnable(section: str) -> list[Block]:
    found = [b for b in blocks(README) if b.section == section and b.language in ("bash", "python")]
    assert found, f"README.md has no section {section!r} with commands"
    return found


def test_every_block_that_can_be_run_is_in_a_section_that_is_run() -> None:
    sections = {block.section for block in blocks(README) if block.language != "text"}
    assert sections == {MAKE, JUDGE, TRAINER, TRAIN, TEAM}


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 165


@pytest.mark.demo
def test_a_judge_of_ones_own_ranks_a_group(tmp_path: Path, judge_url: str) -> None:
    replaced = {"https://api.openai.com/v1": judge_url}
    said = run_blocks(runnable(JUDGE), tmp_path, replaced=replaced, environment={})
    assert "main (gpt-5-mini) · reliability 1.00 · 2 judge calls" in " ".join(said.split())
    assert (tmp_path / "podium.db").exists()


@pytest.mark.demo
def test_a_trainer_of_ones_own_gets_rewards(tmp_path: Path, free_port: int) -> None:
    said = run_blocks(
        runnable(TRAINER),
        tmp_path,
        replaced={"127.0.0.1:8000": f"127.0.0.1:{free_port}"},
        environment={"PODIUM_PORT": str(free_port)},
    )
    printed = README.read_text(encoding="utf-8").split("It prints `")[1].split("`")[0]
    assert f"\n{printed}\n" in said
    assert '"rank":1.0,"reward":1.0' in said


@pytest.mark.demo
def test_a_team_makes_a_key_and_serves_by_two_workers(tmp_path: Path, free_port: int) -> None:
    said = run_blocks(
        runnable(TEAM),
        tmp_path,
        replaced={"127.0.0.1:8000": f"127.0.0.1:{free_port}"},
        environment={"PODIUM_PORT": str(free_port)},
    )
    assert '{"judges":[{"name":"checks"' in said


@pytest.mark.demo
def test_the_tables_of_the_demo_are_what_it_prints(tmp_path: Path) -> None:
    examples = ROOT / "service/podium_service/examples"
    command = f"podium rank {examples}/group.json --config {examples}/judges.yaml"
    said = run_blocks([Block("", "bash", command)], tmp_path, replaced={}, environment={})
    for page in (README, ROOT / "docs/quickstart-judge.md"):
        shown = next(b.text for b in blocks(page) if "looks-then-cancels" in b.text)
        missing = [line for line in shown.splitlines() if line not in said]
        assert not missing


@pytest.mark.install
def test_the_demos_run_in_a_fresh_clone(tmp_path: Path, free_port: int, repository: str) -> None:
    said = run_blocks(
        [*runnable(MAKE), *runnable(TRAIN)],
        tmp_path,
        replaced={REPOSITORY: repository},
        environment={"PODIUM_PORT": str(free_port), "PODIUM_URL": f"http://127.0.0.1:{free_port}",
                     "PYTHONPATH": "", "PYTHON": sys.executable},
        timeout_s=3600,
    )  # fmt: skip
    assert "podium replay rk_" in said
    assert "held out 0.0" in said
    assert (tmp_path / "podium/runs/mine/metrics.jsonl").exists()
    shutil.rmtree(tmp_path / "podium")  # gigabytes that pytest would keep


@pytest.mark.install
@pytest.mark.parametrize(
    "command",
    ["pip install '.[service]'", "pip install 'podium[service] @ git+{repository}'"],
)
def test_each_way_to_install_gives_the_podium_command(
    tmp_path: Path, repository: str, command: str
) -> None:
    written = command.format(repository=REPOSITORY)
    assert f"`{written}`" in " ".join(README.read_text(encoding="utf-8").split())
    clone = f"git clone --quiet {repository} clone && cd clone\n"
    block = Block("", "bash", f"{clone}python -m venv env && . env/bin/activate\n{written}\n"
                  "command -v podium && podium --version")  # fmt: skip
    replaced = {REPOSITORY: repository} if REPOSITORY in written else {}
    said = run_blocks(
        [block], tmp_path, replaced=replaced, environment={"PYTHONPATH": ""}, timeout_s=900
    )
    assert f"{tmp_path}/clone/env/bin/podium\npodium 0." in said
