"""Run the script of a page of docs/integrations, as its reader would."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.docs.blocks import ROOT, blocks, run_blocks


def run_script(
    page: str,
    folder: Path,
    *,
    replaced: Mapping[str, str] | None = None,
    path: Path | None = None,
    **environment: str,
) -> list[str]:
    """Run the only Python block of a page, and return the lines that it prints.

    Args:
        page: the page's file name.
        folder: the working folder.
        replaced: texts of the script, and what stands in for each.
        path: a folder whose commands come before those of this environment.
        environment: variables, such as `PODIUM_URL`.
    """
    scripts = [
        each for each in blocks(ROOT / "docs/integrations" / page) if each.language == "python"
    ]
    assert len(scripts) == 1
    sources = [str(ROOT), str(ROOT / "service"), str(ROOT / "trainer_client")]
    environment["PYTHONPATH"] = os.pathsep.join(sources)
    if path is not None:
        commands = [str(path), str(Path(sys.executable).parent), os.environ["PATH"]]
        environment["PATH"] = os.pathsep.join(commands)
    said = run_blocks(
        scripts, folder, replaced=replaced or {}, environment=environment, timeout_s=600
    )
    return said.splitlines()
