"""The pages about other trainers count the lines that a user writes."""

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

FOLDER = ROOT / "docs/integrations"
MOST_LINES = 5
INDEX = (FOLDER / "index.md").read_text("utf-8")
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
SCRIPT = re.compile(r'^```python hl_lines="([\d ]+)"', re.MULTILINE)
SCRIPTED = [path for path in PAGES if SCRIPT.search(path.read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_index_links_to_every_page(page: Path) -> None:
    assert f"({page.name})" in INDEX


@pytest.mark.parametrize("page", SCRIPTED, ids=lambda page: page.stem)
def test_the_table_counts_the_highlighted_lines(page: Path) -> None:
    [lines] = SCRIPT.findall(page.read_text("utf-8"))
    row = re.search(rf"^\| [^|]*\({page.name}\)[^|]*\| (\d+) \|", INDEX, re.MULTILINE)
    assert row, f"the table of index.md has no row for {page.name}"
    assert int(row[1]) == len(lines.split()) <= MOST_LINES
