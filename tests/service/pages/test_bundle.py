"""Pages as files: every link leads to a file that is there, and nothing to a network."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from podium_service.pages.bundle import ExportedGroup, bundle_group, bundle_run
from tests.service.helpers import chat
from tests.service.pages.samples import calls_of, detail_of, example_group, run_of

_LINK = re.compile(r'(?:href|src|action)="([^"#][^"]*)"')


def check_links(files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        if not path.endswith(".html"):
            continue
        for link in _LINK.findall(content.decode()):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
            assert target.partition("#")[0] in files, f"{path} leads to {link}"


def large_group(index: int) -> Any:
    trajectories = [{"id": f"t{i}", "messages": chat(f"{index} {i}")} for i in range(8)]
    return detail_of({"trajectories": trajectories}, id=f"rk_{index}", ask=f"ask/{index}")


def test_a_group_is_one_page_with_its_files() -> None:
    detail = detail_of(example_group())
    files = bundle_group(ExportedGroup(detail, calls_of(detail)))
    check_links(files)
    assert next(iter(files)) == "index.html"
    assert b"<form" not in files["index.html"].replace(b'<form method="dialog">', b"").replace(
        b'<form method="get" class="wide"', b""
    )


def test_a_run_leads_to_its_groups_and_back() -> None:
    groups = [ExportedGroup(detail, calls_of(detail)) for detail in map(large_group, range(3))]
    files = bundle_run(run_of("airline", 12), groups)
    check_links(files)
    assert b'href="groups/ask-1.html"' in files["groups.html"]
    assert b'href="../groups.html"' in files["groups/ask-1.html"]
    # All attempts are there, because no server could show others.
    assert files["groups/ask-1.html"].count(b'class="attempt"') == 8
    assert b"hx-get" not in b"".join(files.values())
