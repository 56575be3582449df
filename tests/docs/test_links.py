"""Relative links in the Markdown files lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# A file is named from the top, or from the package that the page speaks of.
_ROOTS = [
    ROOT / each
    for each in (
        "",
        "service",
        "service/podium_service",
        "trainer_client",
        "trainer_client/podium_trainer",
    )
]
_MADE = (".models/", "judge-cards/", "/")  # written by commands; a route
_FILE = re.compile(r"`([\w./-]+(?:\.py|\.json|\.yaml|/))`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_by_its_path_exists(page: Path) -> None:
    for name in _FILE.findall(page.read_text(encoding="utf-8")):
        if "/" in name.rstrip("/") and not name.startswith(_MADE):
            assert any((root / name).exists() for root in _ROOTS), f"{name}: no such file"
