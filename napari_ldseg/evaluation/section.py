"""What a chapter of the report is made of, and the words that all chapters share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..checkpoint.metadata import ClassInfo
from . import plots as figures
from .bootstrap import Estimate
from .study import Study


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; ``caption`` says what they are."""

    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Plot:
    """A PNG and what it shows."""

    png: bytes
    caption: str

    @property
    def share(self) -> float:
        """The picture's width in percent of the widest's, so that all have letters of one size."""
        pixels = int.from_bytes(self.png[16:20], "big")
        return min(100.0, 100 * pixels / (figures.WIDTH * figures.DPI))


@dataclass(frozen=True)
class Section:
    """One chapter; ``text`` are its paragraphs."""

    name: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    pictures: tuple[Plot, ...] = ()


def counted(number: int, what: str) -> str:
    """Return "1 case" or "2 cases"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def shown(estimate: Estimate | None, digits: int = 3) -> str:
    """Return a figure with its interval, such as 0.822 (0.801 to 0.840)."""
    if estimate is None:
        return "-"
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"
    return text


def classes_of(study: Study) -> tuple[ClassInfo, ...]:
    return study.model.checkpoint.metadata.classes


def sampling_text(samples: int | None, steps: int | None) -> str:
    return f"N = {samples}, K = {steps}"


def examples(study: Study) -> dict[str, tuple[figures.Panels, str]]:
    """The pictures of the best, the median and the worst case, by title."""
    cases = {}
    for rank, name in study.examples().items():
        pictures = study.gallery[name]
        index = int(pictures["index"])
        title = f"{rank}: {short_name(name)}" if len(study.cases) > 1 else short_name(name)
        text = f"DSC {study.dsc[name]:.3f}" + (f", slice {index + 1}" if index >= 0 else "")
        cases[title] = (pictures, text)
    return cases


def short_name(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:10]}...{name[-9:]}"
