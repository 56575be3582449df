"""Draw the picture of a benchmark in matplotlib's own style, whatever style the user has set.

matplotlib is imported only where a picture is drawn, because that takes a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120


@contextmanager
def picture(png: Path, size: tuple[float, float]) -> Iterator["Figure"]:
    """Yield a figure of this size in inches, and write it as a PNG without the time and a version.

    Equal figures are then equal files.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        yield figure
        png.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(png, format="png", metadata={"Software": None})


@contextmanager
def share_over_steps(
    png: Path,
    share: str,
    *,
    size: tuple[float, float] = (7, 4.2),
    legend: Literal["best", "lower left"] = "best",
) -> Iterator["Axes"]:
    """Yield the axes of a picture of shares over the steps of training, and write it as a PNG.

    Args:
        png: where to write it.
        share: the label of what lies between 0 and 1.
        size: in inches.
        legend: the place of the legend.
    """
    with picture(png, size) as figure:
        axes = figure.subplots()
        yield axes
        axes.set_xlabel("step")
        axes.set_ylabel(share)
        axes.set_ylim(0, 1)
        strip(axes)
        axes.legend(loc=legend, frameon=False)


def strip(axes: "Axes") -> None:
    """Draw a faint grid instead of a frame."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
