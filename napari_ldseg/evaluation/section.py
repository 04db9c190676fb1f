"""The elements of the report's sections, and texts that all sections use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..checkpoint.metadata import ClassInfo
from . import plots
from .bootstrap import Estimate
from .study import Study


@dataclass(frozen=True)
class Table:
    """Rows of text with a header and a caption."""

    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Plot:
    """A PNG and its caption."""

    png: bytes
    caption: str

    @property
    def width_percent(self) -> float:
        """The width in percent of the page's, so that all plots have the same font size."""
        pixels = int.from_bytes(self.png[16:20], "big")  # the width in the header of a PNG
        return min(100.0, 100 * pixels / (plots.WIDTH * plots.DPI))


@dataclass(frozen=True)
class Section:
    """One section of the report; ``text`` has its paragraphs."""

    name: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


def estimate_text(estimate: Estimate | None, digits: int = 3) -> str:
    """Return a value with its interval, such as 0.822 (0.801 to 0.840); "-" for None."""
    if estimate is None:
        return "-"
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"
    return text


def classes_of(study: Study) -> tuple[ClassInfo, ...]:
    """Return the classes of the evaluated model."""
    return study.model.checkpoint.metadata.classes


def sampling_text(samples: int | None, steps: int | None) -> str:
    """Return the number of samples and steps as text."""
    return f"N = {samples}, K = {steps}"


def example_panels(study: Study) -> dict[str, tuple[plots.Panels, str]]:
    """Return the panels and texts of the best, the median and the worst case, by title."""
    cases = {}
    for rank, name in study.examples().items():
        panels = study.gallery[name]
        index = int(panels["index"])
        title = f"{rank}: {short_name(name)}" if len(study.cases) > 1 else short_name(name)
        text = f"DSC {study.dsc[name]:.3f}" + (f", slice {index + 1}" if index >= 0 else "")
        cases[title] = (panels, text)
    return cases


def short_name(name: str) -> str:
    """Return ``name`` with at most 22 characters, shortened in the middle."""
    return name if len(name) <= 22 else f"{name[:10]}...{name[-9:]}"
