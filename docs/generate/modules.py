"""The map of the code: every module with the first line of its docstring, folder by folder."""

import ast
import tomllib
from pathlib import Path
from typing import Any

from docs.generate.tables import table

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "podium_service": ROOT / "service/podium_service",
    "podium": ROOT / "trainer_client/podium",
    "podium_trainer": ROOT / "trainer_client/podium_trainer",
}


def layers() -> str:
    """Return the layers of each package, from the import contracts in pyproject.toml."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = config["tool"]["importlinter"]["contracts"]
    found = {
        each["containers"][0]: each["layers"] for each in contracts if each["type"] == "layers"
    }
    rows = []
    for package in PACKAGES:
        names = [f"`{each}`" for layer in found[package] for each in layer.split(" | ")]
        rows.append((f"`{package}`", " → ".join(names)))
    return table(("package", "layers, from the top to the bottom"), rows)


def module_map() -> str:
    """Return every module of the three packages, folder by folder."""
    return "\n".join(_package(name, folder) for name, folder in PACKAGES.items())


def summary(module: Path) -> str:
    """Return the first line of a module's docstring; empty if it has none."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]


def _package(name: str, folder: Path) -> str:
    text = f"### `{name}`\n\n"
    for each in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
        modules = sorted(path for path in each.glob("*.py") if path.name != "__init__.py")
        if not modules:
            continue
        if each != folder:
            text += f"#### `{each.relative_to(ROOT)}/`\n\n"
        about = summary(each / "__init__.py") if (each / "__init__.py").exists() else ""
        text += f"{about}\n\n" if about else ""
        text += table(("file", "use"), ((f"`{path.name}`", summary(path)) for path in modules))
        text += "\n"
    return text
