"""Read a recipe file and the command line into a `TrainConfig`, or say which settings are wrong."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliImplicitFlag,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from podium_trainer.config import TrainConfig
from podium_trainer.run.own_names import FlagError, list_settings, merge, take_own_names

# Short flags: the name of a section stands for its first field.
SHORT_FLAGS = {
    "--model": "--model.path",
    "--task": "--task.name",
    "--service": "--service.url",
    "--sampler": "--sampler.kind",
    "--loss": "--loss.name",
    "--resume-from": "--resume_from",
    "--accept-changes": "--accept_changes",
}
NEAR = 0.8  # how like a name must be to be suggested, where 1 is equal


class RecipeError(ValueError):
    """A recipe or a setting does not fit; each line has a name, the value and the rule."""


class _CommandLine(BaseSettings, TrainConfig):
    """Train a model as RECIPE says: a YAML file, or the name of a shipped recipe.

    Every setting of a recipe is a flag, too. `podium-train show RUN` prints what a run sampled.
    """

    model_config = SettingsConfigDict(extra="forbid", validate_default=True)

    resume: CliImplicitFlag[bool] = Field(
        False, description="Go on from the last checkpoint in `out`."
    )
    resume_from: int | None = Field(
        None, ge=1, description="Go on from the checkpoint of this step, and set later ones aside."
    )
    accept_changes: CliImplicitFlag[bool] = Field(
        False, description="Resume with other settings or data than the checkpoint was made with."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The command line comes before the recipe; the environment is not read.
        return (init_settings,)


@dataclass(frozen=True)
class Resume:
    """The point from which a run starts.

    Attributes:
        is_wanted: whether it goes on from a checkpoint; if not, `out` must hold no run.
        step: the step of that checkpoint; None for the newest.
        accepts_changes: whether settings and data may differ from those it was made with.
        launch: which launch of torchrun or Ray starts the run, again if it fails; "" for none.
    """

    is_wanted: bool = False
    step: int | None = None
    accepts_changes: bool = False
    launch: str = ""


def read_command_line(arguments: Sequence[str]) -> tuple[TrainConfig, Resume]:
    """Read `RECIPE [--section.field value ...] [--resume | --resume-from STEP] [...]`.

    Raises:
        RecipeError: If the recipe cannot be read or a setting does not fit.
        SystemExit: After printing `--help`.
    """
    is_recipe = bool(arguments) and not arguments[0].startswith("-")
    recipe = read_recipe(arguments[0]) if is_recipe else {}
    wants_help = bool({"-h", "--help"} & set(arguments))
    if not is_recipe and not wants_help:
        raise RecipeError(
            f"name a recipe first: one of {', '.join(list_recipes())}, or a YAML file"
        )
    try:
        flags, own = take_own_names(list(map(with_long_name, arguments[1:])))
        settings = _CommandLine(
            _cli_parse_args=["--help"] if wants_help else flags,
            _cli_prog_name="podium-train RECIPE",
            _cli_exit_on_error=False,
            _cli_avoid_json=True,
            _cli_parse_none_str="null",
            **merge(recipe, own),
        )
    except ValidationError as error:
        raise RecipeError("\n".join(map(describe, error.errors()))) from error
    except FlagError as error:
        raise RecipeError(str(error)) from error
    except SettingsError as error:
        raise RecipeError(describe_flags(str(error))) from error
    values = settings.model_dump(exclude={"resume", "resume_from", "accept_changes"})
    step = settings.resume_from
    resume = Resume(settings.resume or step is not None, step, settings.accept_changes)
    return TrainConfig.model_validate(values), resume


def with_long_name(argument: str) -> str:
    """Replace a short flag by the long one."""
    name, equals, value = argument.partition("=")
    return SHORT_FLAGS.get(name, name) + equals + value


def read_recipe(name: str) -> dict[str, Any]:
    """Read a YAML file, or a shipped recipe by its name.

    Raises:
        RecipeError: If there is no such file, or if it holds no mapping.
    """
    stem = name.removeprefix("recipes/").removesuffix(".yaml")
    path = Path(name)
    try:
        if not path.is_file() and stem in list_recipes():
            text = (files("podium_trainer") / "recipes" / f"{stem}.yaml").read_text("utf-8")
        else:
            text = path.read_text("utf-8")
        recipe = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(list_recipes())
        raise RecipeError(
            f"recipe {name!r} cannot be read ({error}); there are: {known}"
        ) from error
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise RecipeError(f"recipe {name!r} is not YAML: {words}") from error
    if not isinstance(recipe, Mapping) or not all(isinstance(key, str) for key in recipe):
        raise RecipeError(f"recipe {name!r} must be a mapping of settings' names to values")
    return dict(recipe)


def list_recipes() -> list[str]:
    """Return the names of the recipes in the package."""
    folder = files("podium_trainer") / "recipes"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def describe(error: Mapping[str, Any]) -> str:
    """Describe a fault in one line: the setting's name, the value, the rule."""
    path = [part for part in error["loc"] if isinstance(part, str)]
    name = ".".join(path) or "recipe"
    if error["type"] == "missing" and len(path) < len(error["loc"]):
        return f"{name}: {list(error['input'])}: has too few values"
    if error["type"] == "missing":
        return f"{name}: is missing: write it in the recipe, or add --{name} VALUE"
    if error["type"] == "extra_forbidden":
        return f"{name}: {error['input']!r}: there is no such setting{suggest(name)}"
    if error["type"] == "model_type":
        field = SHORT_FLAGS.get(f"--{name}", f"--{name}.NAME").rpartition(".")[2]
        return f"{name}: {error['input']!r}: is a section: write {name}: {{{field}: VALUE, ...}}"
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # it concerns several sections, and says which settings it means
        return str(message)
    return f"{name}: {error['input']!r}: {message[0].lower()}{message[1:]}"


def describe_flags(fault: str) -> str:
    """Describe in one line what the parser of flags says, with the flag that may be meant."""
    words = fault.removeprefix("error parsing CLI: ")
    unknown = re.search(r"unrecognized arguments: --?([^\s=]+)", words)
    hint = suggest(unknown[1], "--") if unknown else ""
    return f"{words}{hint}; podium-train --help lists all settings"


def suggest(name: str, prefix: str = "") -> str:
    """Return a clause with the setting that may be meant by a wrong name; empty if none is near."""
    settings = [setting for setting, _ in list_settings()]
    last = [each for each in settings if each.rpartition(".")[2] == name.rpartition(".")[2]]
    near = get_close_matches(name, settings, 1, NEAR) or (last if len(last) == 1 else [])
    return f"; do you mean {prefix}{near[0]}?" if near else ""
