"""The documentation builds without a warning and needs no other host to be read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import ROOT

# Attributes and style rules that make a browser fetch something.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|audio|video)\b[^>]*\ssrc=["']?([^"'\s>]+)"""
    r"""|<link\b[^>]*\shref=["']?([^"'\s>]+)"""
    r"""|url\(\s*["']?([^"')\s]+)|@import\s+["']([^"']+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site with `strict`, which makes a warning an error; return its folder."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_of_docs_is_built(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")}
    missing = {page for page in pages if not (site / page).with_suffix(".html").exists()}
    assert not missing
    assert not list(site.rglob("*.py*"))


def test_the_built_site_fetches_nothing_from_another_host(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    fetched = {
        (path.name, next(filter(None, found)))
        for path in files
        for found in _FETCHED.findall(path.read_text(encoding="utf-8"))
    }
    assert fetched
    foreign = {each for each in fetched if re.match(r"(?:\w+:)?//", each[1])}
    assert not foreign


def test_the_search_index_is_local(site: Path) -> None:
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    assert "Kendall" in index


def test_the_navigation_names_every_page() -> None:
    class Loader(yaml.SafeLoader):
        """Reads tags of mkdocs as nothing."""

    Loader.add_multi_constructor("", lambda loader, suffix, node: None)
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    named = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    assert named == {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
