"""What is around each page: where links lead, who looks, and the environment of the templates."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from podium_service import __version__
from podium_service.pages import figures, numbers
from podium_service.pages.texts.conversation import content_text
from podium_service.pages.texts.marks import is_marked, note_of, render_marked
from podium_service.pages.texts.seen import find_planted
from podium_service.pages.texts.visible import make_visible

Theme = Literal["", "light", "dark"]
STATIC = ("pages.css", "pages.js", "htmx.min.js", "htmx.LICENSE.txt", "logo.svg")


@dataclass(frozen=True)
class Frame:
    """The parts of a page around its own subject: what it shows and links to.

    Attributes:
        root: the path before all links, without a slash at its end.
        files: the file of each path that a link may lead to, for pages that are files; other paths
            have no link then. None for pages of a server.
        back: from the page's own file to the folder of all files.
        can_act: whether the page's actions are there; a store without a service has none.
        key: the name of the API key that looks; None if no key is needed.
        csrf: the token that each form sends.
        theme: "" leaves it to the browser.
        path: the page's own path and query.
    """

    root: str = ""
    files: Mapping[str, str] | None = None
    back: str = ""
    can_act: bool = False
    is_admin: bool = False
    key: str | None = None
    csrf: str = ""
    theme: Theme = ""
    path: str = "/ui"
    base_url: str = ""
    active: str = ""
    hidden: frozenset[str] = frozenset()

    def url(self, path: str, **query: Any) -> str:
        """Return the address of a path of the service; "" if these pages have no such page."""
        chosen = {name: value for name, value in query.items() if value not in (None, "", False)}
        if self.files is not None:
            name = None if chosen else self.files.get(path)
            return f"{self.back}{name}" if name else ""
        return f"{self.root}{path}" + (f"?{urlencode(chosen)}" if chosen else "")

    def static(self, name: str) -> str:
        """Return the address of a static file."""
        if self.files is not None:
            return f"{self.back}static/{name}"
        return f"{self.root}/ui/static/{name}?v={static_version()}"

    def ranking(self, ranking_id: str, **query: Any) -> str:
        return self.url(f"/ui/rankings/{quote(ranking_id, safe='')}", **query)

    def run(self, run: str, **query: Any) -> str:
        return self.url(f"/ui/runs/{quote(run, safe='')}", **query)


def read_static(name: str) -> bytes:
    """Return the content of a static file."""
    return files("podium_service.pages").joinpath("static", name).read_bytes()


@cache
def static_version() -> str:
    """Return what changes when a static file does, so that browsers may keep them for ever."""
    return sha256(b"".join(read_static(name) for name in STATIC)).hexdigest()[:12]


def render(template: str, frame: Frame, **values: Any) -> str:
    """Return a page as HTML.

    Args:
        template: the name of a file in `templates/`, without `.html.jinja`.
        values: what the template names.
    """
    return _environment().get_template(f"{template}.html.jinja").render(frame=frame, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("podium_service.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "marked": render_marked,
        "note": note_of,
        "planted": find_planted,
        "verbatim": escape,
        "as_field": as_field,
        "content": content_text,
        **numbers.FILTERS,
    }
    environment.globals |= {**figures.FIGURES, "is_marked": is_marked, "version": __version__}
    return environment


def as_field(text: str) -> Markup:
    """Return a text as a form sends it back: all characters stay, but halves of some."""
    return escape(text.encode(errors="replace").decode())


def _finalize(value: Any) -> Any:
    """Make hidden characters visible in every value, in texts and in attributes alike."""
    return (
        make_visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
    )
