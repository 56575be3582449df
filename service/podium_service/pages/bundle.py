"""Write pages as files that a browser opens from a folder, without a server."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from podium_service.pages.frame import STATIC, Frame, read_static
from podium_service.pages.group import render_group
from podium_service.pages.groups import render_groups
from podium_service.pages.runs.run import render_run
from podium_service.schemas.history import CallView, RankingDetail, RankingPage, RunDetail

ExportedGroup = tuple[RankingDetail, Sequence[CallView]]
_PLOTTED = 40
_NOT_SCRIPTS = [name for name in STATIC if not name.startswith("htmx")]


def bundle_group(group: ExportedGroup) -> dict[str, bytes]:
    """Return the files of one group, by path; `index.html` comes first."""
    detail, calls = group
    frame = Frame(files={_ranking_path(detail): "index.html"}, base_url="http://127.0.0.1:8000")
    return {"index.html": render_group(frame, detail, calls).encode(), **_static_files()}


def bundle_run(run: RunDetail, groups: Sequence[ExportedGroup]) -> dict[str, bytes]:
    """Return the files of a run and of its groups, by path."""
    links = {"/ui/runs": "index.html", "/ui": "groups.html"}
    links[f"/ui/runs/{quote(run.summary.run, safe='')}"] = "index.html"
    links |= {_ranking_path(detail): _file_of(detail) for detail, _ in groups}
    summaries = [detail.summary for detail, _ in groups]
    page = RankingPage(rankings=summaries, next=None)
    files = {
        "index.html": render_run(_frame(links, "Runs"), run, groups=summaries[:_PLOTTED]),
        "groups.html": render_groups(_frame(links, "Groups"), page, {}),
    }
    for detail, calls in groups:
        frame = _frame(links, "Groups", back="../")
        files[_file_of(detail)] = render_group(frame, detail, calls)
    return {path: html.encode() for path, html in files.items()} | _static_files()


def _frame(links: Mapping[str, str], active: str, back: str = "") -> Frame:
    return Frame(files=links, back=back, active=active, base_url="http://127.0.0.1:8000")


def _ranking_path(detail: RankingDetail) -> str:
    return f"/ui/rankings/{quote(detail.summary.ask, safe='')}"


def _file_of(detail: RankingDetail) -> str:
    return f"groups/{re.sub(r'[^A-Za-z0-9_-]', '-', detail.summary.ask)}.html"


def _static_files() -> dict[str, bytes]:
    return {f"static/{name}": read_static(name) for name in _NOT_SCRIPTS}
