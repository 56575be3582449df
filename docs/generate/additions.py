"""The steps to add a kind of something, from the docstrings of the modules that hold the kinds."""

import ast
import re
import textwrap
from pathlib import Path

from docs.generate.modules import PACKAGES, ROOT

# The name of each kind, and the module whose docstring has its steps.
KINDS = {
    "a judge kind": "service/podium_service/ranking/kinds/__init__.py",
    "a ranking method": "service/podium_service/ranking/methods/__init__.py",
    "a criterion": "service/podium_service/judges/checks/criteria.py",
    "a task": "trainer_client/podium_trainer/tasks/__init__.py",
    "a loss": "trainer_client/podium_trainer/update/loss.py",
}
_STEPS = re.compile(r"^To add [\w ]+:\n\n?(1\. .*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


def how_to_add() -> str:
    """Return three steps for each kind, and the other modules that say how to add something."""
    text = ""
    for kind, name in KINDS.items():
        text += f"### Add {kind}\n\nIn `{name}`:\n\n{steps(ROOT / name)}\n\n"
    others = [
        f"`{path.relative_to(ROOT)}`"
        for folder in PACKAGES.values()
        for path in sorted(folder.rglob("*.py"))
        if "To add " in _docstring(path) and str(path.relative_to(ROOT)) not in KINDS.values()
    ]
    listed = "\n".join(f"- {other}" for other in others)
    return f"{text}### Add something else\n\nThese modules say how, too:\n\n{listed}\n"


def steps(module: Path) -> str:
    """Return the numbered steps in a module's docstring.

    Raises:
        ValueError: If it has none.
    """
    match = _STEPS.search(_docstring(module))
    if not match:
        raise ValueError(f"{module}: its docstring has no 'To add ...:' with numbered steps")
    return textwrap.dedent(match[1])


def _docstring(module: Path) -> str:
    return ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
