"""The `podium` command's help, from the command itself."""

from collections.abc import Iterator
from typing import Any

import typer

from docs.generate.tables import table, yaml_of
from podium_service.cli.main import app

# typer carries its own copy of click, whose classes it does not export: hence `Any`.


def podium_commands() -> str:
    """Return every command with its arguments and options."""
    return "\n".join(_about(*each) for each in _commands("podium", typer.main.get_command(app)))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield a command's subcommands, and theirs, by their full names; itself if it has none."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for each, inner in command.commands.items():
        yield from _commands(f"{name} {each}", inner)


def _about(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([name, *(_argument(each) for each in arguments), "[OPTIONS]"])
    rows = [(f"`{_argument(each)}`", "required", each.help or "") for each in arguments]
    rows += [(_option(each), _default(each), each.help or "") for each in options]
    about = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    options_table = table(("option", "default", "meaning"), rows) if rows else ""
    return f"## `{name}`\n\n{about}\n\n```text\n{usage}\n```\n\n{options_table}"


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option(option: Any) -> str:
    names = "`, `".join([*option.opts, *option.secondary_opts])
    return f"`{names}`" + (f" (`{option.envvar}`)" if option.envvar else "")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    return yaml_of(option.default or None)
