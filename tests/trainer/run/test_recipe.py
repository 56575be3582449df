"""Recipes and the command line: what goes before what, and one line for what does not fit."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from podium_trainer.config import AdvantageName, LossName, ModelConfig, TrainConfig
from podium_trainer.policy.tool_calls import FORMATS
from podium_trainer.run.cli import run
from podium_trainer.run.recipe import RecipeError, Resume, list_recipes, read_command_line
from podium_trainer.update.advantages import ADVANTAGES
from podium_trainer.update.loss import LOSSES

SMALL: dict[str, Any] = {"model": {"path": "m"}, "task": {"name": "addition"}}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"steps": 7, "loss": {"name": "grpo", "kl_coef": 0.5}}))
    return path


def read(*arguments: object) -> TrainConfig:
    return read_command_line([str(a) for a in arguments])[0]


def refused(*arguments: object) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(*arguments)
    return str(caught.value).splitlines()


def test_the_config_names_the_losses_and_advantages_of_the_code() -> None:
    assert get_args(LossName) == tuple(LOSSES)
    assert get_args(AdvantageName) == tuple(ADVANTAGES)
    formats = get_args(ModelConfig.model_fields["tool_format"].annotation)
    assert get_args(formats[0]) == tuple(FORMATS)


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not inner:
            yield prefix + name, field
        for section in inner:
            yield from fields(section, f"{prefix}{name}.")


def test_settings_have_descriptions_and_sections_have_docstrings() -> None:
    every = dict(fields(TrainConfig))
    assert len(every) > 50
    assert not [name for name, field in every.items() if not field.description]


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_loads_by_name_and_by_path(name: str) -> None:
    first = read(name)
    assert first == read(f"recipes/{name}.yaml") == read(f"{name}.yaml")
    path = Path(__file__).parents[3] / "trainer_client/podium_trainer/recipes" / f"{name}.yaml"
    assert first == read(path)


def test_flags_override_a_recipe_and_a_recipe_the_defaults(
    recipe: Path,
) -> None:
    config = read(recipe)
    assert (config.steps, config.loss.name, config.loss.kl_coef) == (7, "grpo", 0.5)
    assert config.loss.importance_cap == 3.0
    config = read(recipe, "--steps", "9", "--loss.name", "cispo", "--optimizer.lr=3e-4")
    assert (config.steps, config.loss.name, config.optimizer.lr) == (9, "cispo", 3e-4)
    assert config.loss.kl_coef == 0.5  # the rest of the section stays


@pytest.mark.parametrize("form", [["--{} {}"], ["--{}={}"]], ids=str)
@pytest.mark.parametrize(
    ("name", "value", "section", "field"),
    [
        ("service", "http://judge:8000", "service", "url"),
        ("model", "other", "model", "path"),
        ("task", "prices", "task", "name"),
        ("sampler", "vllm", "sampler", "kind"),
        ("loss", "rft", "loss", "name"),
        ("service.url", "http://judge:8000", "service", "url"),
    ],
)
def test_the_flag_of_a_section_sets_its_first_field(
    recipe: Path, form: list[str], name: str, value: str, section: str, field: str
) -> None:
    config = read(recipe, *form[0].format(name, value).split(" "))
    assert getattr(getattr(config, section), field) == value


def test_resume_is_a_flag_and_no_setting(recipe: Path) -> None:
    assert read_command_line([str(recipe), "--resume"]) == (read(recipe), Resume(True))
    assert read_command_line([str(recipe), "--resume-from", "20"])[1] == Resume(True, 20)
    changed = read_command_line([str(recipe), "--resume", "--accept-changes"])[1]
    assert changed == Resume(True, accepts_changes=True)
    assert read_command_line([str(recipe)])[1] == Resume()


def test_the_command_line_sets_lists_sections_and_null(recipe: Path) -> None:
    config = read(
        recipe,
        *("--sampler.urls", "http://a:1,http://b:2", "--model.lora.rank", "4"),
        *("--task.options", "held_out=9", "--loss.sequence_ratio_bounds", "[0.7,1.4]"),
        *("--log.tensorboard", "true", "--rollout.mask_truncated", "true", "--out", "runs/x"),
    )
    assert config.sampler.urls == ["http://a:1", "http://b:2"]
    assert config.model.lora is not None
    assert config.model.lora.rank == 4
    assert config.task.options["held_out"] == 9
    assert config.loss.sequence_ratio_bounds == (0.7, 1.4)
    assert config.log.tensorboard
    assert config.rollout.mask_truncated
    assert config.out == Path("runs/x")
    with_lora = recipe.parent / "lora.yaml"
    with_lora.write_text(yaml.safe_dump(SMALL | {"model": {"path": "m", "lora": {"rank": 8}}}))
    assert read(with_lora).model.lora is not None
    assert read(with_lora, "--model.lora", "null").model.lora is None
    assert read(with_lora, "--loss.sequence_ratio_bounds", "null").loss == (
        read(recipe, "--loss", "dapo", "--loss.kl_coef", "0.01",
             "--loss.sequence_ratio_bounds", "null").loss
    )  # fmt: skip


@pytest.mark.parametrize(
    "flags",
    [
        ["--task.options.path", "b.jsonl", "--task.options.held_out=0.1"],
        ["--task.options", "path=b.jsonl", "--task.options.held_out", "0.1"],
        ["--task.options", "path=b.jsonl,held_out=0.1"],
        ["--task.options", "{path: b.jsonl, held_out: 0.1}"],
        ["--task.options=path: b.jsonl", "--task.options", '{"held_out": 0.1}'],
    ],
    ids=" ".join,
)
def test_flags_set_options_of_a_task_by_name(tmp_path: Path, flags: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    options = {"path": "a.jsonl", "columns": {"prompt": "q"}}
    path.write_text(yaml.safe_dump(SMALL | {"task": {"name": "data", "options": options}}))
    assert read(path, *flags).task.options == {**options, "path": "b.jsonl", "held_out": 0.1}
    nested = read(path, "--task.options.columns.reference", "a").task.options
    assert nested == {"path": "a.jsonl", "columns": {"prompt": "q", "reference": "a"}}


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--task.options", "b.jsonl"],
            "'b.jsonl': is no mapping: write --task.options.NAME VALUE",
        ),
        (["--task.options.path", "[b"], "task.options.path: '[b': is not YAML"),
        (["--task.options.path", "--steps", "3"], "--task.options.path: is without a value"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_read_is_one_line(
    recipe: Path, flags: list[str], line: str
) -> None:
    [said] = refused(recipe, *flags)
    assert line in said


@pytest.mark.parametrize(
    "name",
    ["service.url", "service.judge", "sampler.weights_dir", "eval.limit", "model.autocast",
     "model.device", "model.lora", "loss.clip_low", "loss.sequence_ratio_bounds"],
)  # fmt: skip
def test_null_on_the_command_line_is_none(recipe: Path, name: str) -> None:
    section, field = name.split(".")
    assert getattr(getattr(read(recipe, f"--{name}", "null"), section), field) is None


@pytest.mark.parametrize(
    ("said", "targets"),
    [("all-linear", "all-linear"), ("q_proj,v_proj", ["q_proj", "v_proj"]), ("q_proj", ["q_proj"])],
)
def test_lora_targets_are_one_word_or_a_list(
    recipe: Path, said: str, targets: str | list[str]
) -> None:
    lora = read(recipe, "--model.lora.targets", said).model.lora
    assert lora is not None
    assert lora.targets == targets


def test_the_environment_changes_nothing(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(recipe)
    for name in ("STEPS", "steps", "SEED", "OUT", "RESUME", "LOSS", "MODEL", "LOSS__NAME"):
        monkeypatch.setenv(name, "999")
    assert read_command_line([str(recipe)]) == (before, Resume())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--steps", "0"], r"steps: '?0'?: input should be greater than or equal to 1"),
        (["--steps", "many"], r"steps: 'many': input should be a valid integer.*"),
        (["--loss", "ppo"], r"loss\.name: 'ppo': input should be 'grpo', 'dr_grpo', 'dapo', .*"),
        (["--rollout.group_size=1"], r"rollout\.group_size: '?1'?: .* greater than or equal to 2"),
        (["--sampler.temperature", "0"], r"sampler\.temperature: '?0'?: .* greater than 0"),
        (["--model.dtype", "int8"], r"model\.dtype: 'int8': input should be 'float32' or .*"),
        (["--loss.importance_cap", "0.5"], r"loss\.importance_cap: '?0\.5'?: .* or equal to 1"),
        (["--loss.sequence_ratio_bounds", "[1.1,2]"],
         r"loss\.sequence_ratio_bounds: \[1\.1, 2\]: must enclose 1"),
        (["--optimizer.lr", "nan"], r"optimizer\.lr: '?nan'?: .*"),
        (["--service.judge", ""], r"service\.judge: '': .* should have at least 1 character"),
        (["--eval.rubric="], r"eval\.rubric: '': .* should have at least 1 character"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_name_value_and_rule(
    recipe: Path, arguments: list[str], line: str
) -> None:
    [said] = refused(recipe, *arguments)
    assert re.fullmatch(line, said), said


def test_every_wrong_setting_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    wrong = {"model": {"path": "m", "dtype": "int8"}, "steps": -1, "lost": {"name": "grpo"}}
    path.write_text(yaml.safe_dump(wrong))
    lines = refused(path)
    assert len(lines) == 4
    assert "task: is missing: write it in the recipe, or add --task VALUE" in lines
    assert "lost: {'name': 'grpo'}: there is no such setting" in lines
    assert any(line.startswith("steps: -1: ") for line in lines)
    assert any(line.startswith("model.dtype: 'int8': ") for line in lines)


def test_a_missing_field_is_named_with_its_section(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"model": {}, "task": {"name": "addition"}}))
    assert refused(path) == [
        "model.path: is missing: write it in the recipe, or add --model.path VALUE"
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--stepz", "3"], "unrecognized arguments: --stepz 3; do you mean --steps?; podium-train"),
        (["--lr=1"], "unrecognized arguments: --lr=1; do you mean --optimizer.lr?; podium-train"),
        (["--nothing.near", "1"], "unrecognized arguments: --nothing.near 1; podium-train --help"),
        (["--optimizer.betas", "0.9"], "optimizer.betas: [0.9]: has too few values"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_flag_that_is_near_another_is_told_so(recipe: Path, flags: list[str], line: str) -> None:
    assert refused(recipe, *flags)[0].startswith(line)


def test_a_wrong_name_or_section_in_a_recipe_has_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("model: any\ntask: {name: addition}\nsampler: {max_token: 3}\nrolout: {}\n")
    assert refused(path) == [
        "model: 'any': is a section: write model: {path: VALUE, ...}",
        "sampler.max_token: 3: there is no such setting; do you mean sampler.max_tokens?",
        "rolout: {}: there is no such setting; do you mean rollout?",
    ]


@pytest.mark.parametrize(
    "arguments",
    [["--step", "3"], ["--loss.clip", "3"], ["--optimizer.learning_rate=1"], ["extra"]],
    ids=str,
)
def test_an_unknown_flag_is_one_line_that_names_it(recipe: Path, arguments: list[str]) -> None:
    [line] = refused(recipe, *arguments)
    assert arguments[0].partition("=")[0].lstrip("-") in line
    assert "podium-train --help" in line


def test_a_flag_without_its_value_is_one_line(recipe: Path) -> None:
    [line] = refused(recipe, "--steps")
    assert "--steps" in line


def test_a_command_without_recipe_lists_the_shipped_ones() -> None:
    for arguments in ([], ["--steps", "3"]):
        [line] = refused(*arguments)
        assert line.startswith("name a recipe first: one of addition, ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("steps: [1", "is not YAML"),
        ("steps: !!python/object:os.system x", "is not YAML"),
        ("- steps", "must be a mapping of settings"),
        ("", "must be a mapping of settings"),
        ("7", "must be a mapping of settings"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "odd.yaml"
    if text is not None:
        path.write_text(text)
    [line] = refused(path)
    assert words in line
    assert "odd.yaml" in line


def test_a_recipe_with_keys_that_are_no_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("7: 8\nmodel: {path: m}\ntask: {name: addition}\n")
    [line] = refused(path)
    assert "must be a mapping of settings' names to values" in line


def test_help_lists_every_setting_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, field in fields(TrainConfig):
        assert f"--{name}" in text
        assert field.description.split()[0] in text
    assert "--resume" in text


def test_a_written_config_reads_back_as_it_was(recipe: Path, tmp_path: Path) -> None:
    config = read(recipe, "--model.lora.rank", "4", "--loss", "gspo")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert read(path) == config


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("optimizer.lr", "inf", "finite number"),
        ("sampler.timeout_s", "inf", "finite number"),
        ("seed", str(2**70), "less than"),
        ("model.dtype", "bfloat16", "bfloat16 rounds away small updates of all weights"),
    ],
)
def test_values_that_would_fail_hours_later_are_refused(
    setting: str, value: str, rule: str
) -> None:
    with pytest.raises(RecipeError, match=rule):
        read_command_line(["addition", f"--{setting}", value])


def test_the_command_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert re.fullmatch(r"podium-train \d+\.\d+\.\d+\n", capsys.readouterr().out)
