"""Write pages as files that a browser opens from a folder, without a server."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from podium_service.pages.frame import STATIC, Frame, read_static
from podium_service.pages.group import render_group
from podium_service.pages.groups import render_groups
from podium_service.pages.operation.again import Again
from podium_service.pages.operation.people import People
from podium_service.pages.runs.run import render_run
from podium_service.schemas.history import CallView, RankingDetail, RankingPage, RunDetail

_PLOTTED = 40
_NOT_SCRIPTS = [name for name in STATIC if not name.startswith("htmx")]


@dataclass(frozen=True)
class ExportedGroup:
    """A group with all that its page shows: the calls, later judgments, and people's words."""

    detail: RankingDetail
    calls: Sequence[CallView]
    again: Again = field(default_factory=Again)
    people: People = field(default_factory=People)


def bundle_group(group: ExportedGroup, later: Sequence[ExportedGroup] = ()) -> dict[str, bytes]:
    """Return the files of one group, by path; `index.html` comes first.

    Args:
        later: judgments of the same group that have pages, too.
    """
    links = {_ranking_path(each.detail): _file_of(each.detail) for each in later}
    links[_ranking_path(group.detail)] = "index.html"
    files = {"index.html": _render(_frame(links, ""), group)}
    for each in later:
        files[_file_of(each.detail)] = _render(_frame(links, "", back="../"), each)
    return {path: html.encode() for path, html in files.items()} | _static_files()


def bundle_run(
    run: RunDetail, groups: Sequence[ExportedGroup], later: Sequence[ExportedGroup] = ()
) -> dict[str, bytes]:
    """Return the files of a run and of its groups, by path; `later` as of a group."""
    links = {"/ui/runs": "index.html", "/ui": "groups.html"}
    links[f"/ui/runs/{quote(run.summary.run, safe='')}"] = "index.html"
    links |= {_ranking_path(each.detail): _file_of(each.detail) for each in (*groups, *later)}
    summaries = [each.detail.summary for each in groups]
    page = RankingPage(rankings=summaries, next=None)
    files = {
        "index.html": render_run(_frame(links, "Runs"), run, groups=summaries[:_PLOTTED]),
        "groups.html": render_groups(_frame(links, "Groups"), page, {}),
    }
    for each in (*groups, *later):
        files[_file_of(each.detail)] = _render(_frame(links, "Groups", back="../"), each)
    return {path: html.encode() for path, html in files.items()} | _static_files()


def _render(frame: Frame, group: ExportedGroup) -> str:
    return render_group(frame, group.detail, group.calls, again=group.again, people=group.people)


def _frame(links: Mapping[str, str], active: str, back: str = "") -> Frame:
    return Frame(files=links, back=back, active=active, base_url="http://127.0.0.1:8000")


def _ranking_path(detail: RankingDetail) -> str:
    return f"/ui/rankings/{quote(detail.summary.ask, safe='')}"


def _file_of(detail: RankingDetail) -> str:
    return f"groups/{re.sub(r'[^A-Za-z0-9_-]', '-', detail.summary.ask)}.html"


def _static_files() -> dict[str, bytes]:
    return {f"static/{name}": read_static(name) for name in _NOT_SCRIPTS}
