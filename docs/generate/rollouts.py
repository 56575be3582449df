"""The fields of `rollouts.jsonl.zst`, and the options of the command that prints it."""

from docs.generate.metrics import attributes
from docs.generate.tables import table
from podium_trainer.records.rollouts.lines import AttemptLine, GroupLine
from podium_trainer.run.show import parser


def rollout_fields() -> str:
    """Return every field of a line, and of its attempts."""
    parts = []
    for title, line in (("A group", GroupLine), ("An attempt", AttemptLine)):
        rows = [(f"`{name}`", told.rstrip(".")) for name, told in attributes(line).items()]
        parts.append(f"### {title}\n\n{table(('field', 'meaning'), rows)}")
    return "\n".join(parts)


def show_options() -> str:
    """Return the options of `podium-train show`."""
    rows = []
    for action in parser()._actions:
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar}`"
        if action.option_strings and action.metavar:
            names = names[:-1] + f" {action.metavar}`"
        rows.append((names, action.help or ""))
    return table(("option", "meaning"), rows)
