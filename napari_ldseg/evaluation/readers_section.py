"""The report's section on several readers."""

from __future__ import annotations

import numpy as np

from ..utils.text import count_text
from . import plots
from .alternatives import ALTERNATIVES, BETWEEN_READERS, BETWEEN_SAMPLES, DISTANCE, READINGS
from .bootstrap import Estimate
from .results import reader_correlations
from .section import (
    Plot,
    Section,
    Table,
    classes_of,
    estimate_text,
    sampling_text,
)
from .study import MAX_ALTERNATIVES, Study


def readers_section(study: Study) -> Section:
    """Return the section of the part ``readers``."""
    correlations = reader_correlations(study)
    observed = dict(study.observations.estimates(part="readers")) | correlations
    number = min(len(case.read_labels) for case in study.cases)
    rows = [
        (
            f"{key.metric} {key.detail or ''}".replace("^2", "²"),
            estimate_text(e),
            f"{e.cases} ({e.patients})",
        )
        for key, e in observed.items()
    ]
    sampling = sampling_text(study.main_sampling.samples, study.main_sampling.steps)
    table = Table(
        f"{study.model.label}, {sampling}, {number} readers",
        ("metric", "value", "cases (patients)"),
        rows,
    )
    text = (
        "The distribution of the samples, compared with the labels of all readers. GED² is 0 if the "
        "two distributions are equal; matched IoU is 1 if the samples and the readers' labels are "
        "equal in pairs. In the other sections the expert is the majority of the readers, where a tie "
        "counts for the structure.",
        "Similar samples are one alternative: two outlines are different if their intersection is less "
        "than half of their union, or if only one of them is empty. A single sample unlike all others "
        "is no alternative; two or more with a structure that no other sample has are one, even if "
        "they differ. A posterior with one mode has one alternative.",
        "The different readings of the readers are counted in the same way, but here a single reader "
        "counts. A reader is covered by an alternative that is not different from the reader's "
        "outline. Distance is 1 - IoU, the mean over the pairs of a case. The rank correlation tests "
        "whether the samples differ in the cases where the readers differ, and are empty where the "
        "readers' labels are: 1 is perfect, 0 is no correlation.",
    )
    examples, names = _representative_panels(study)
    section_plots = (
        Plot(
            plots.alternatives(examples, classes_of(study)),
            "The labels of the readers, the alternatives of the model with their numbers of samples "
            "(all differ: the samples agree that there is a structure, but not on its outline), and "
            "the single samples. Of the cases with one alternative, and of those with several: the "
            "case whose readers agree most, the median one, and the one whose readers differ most. At "
            f"most {MAX_ALTERNATIVES} alternatives; of a volume, the slice with most of the expert's "
            f"structures. {names}.",
        ),
        Plot(
            _over_all_cases(study, next(iter(correlations.values()), None)),
            "All cases. Left: the number of alternatives of the model for cases where the readers have "
            "one, two or more different readings. Right: each point is a case; on the dotted line the "
            "samples differ as much as the readers.",
        ),
    )
    return Section("readers", "Several readers", text, (table,), section_plots)


def representative_cases(study: Study) -> list[str]:
    """Return the cases of the plot: up to three with one alternative, then up to three with several.

    Of both, those with the smallest, the median and the largest distance between readers; ties by name.
    """
    distance = study.observations.values[study.reader_key(DISTANCE, BETWEEN_READERS)]
    ranked = sorted(distance, key=lambda name: (distance[name], name))
    selected = []
    for several in (False, True):
        names = [name for name in ranked if (len(study.alternatives[name]) > 1) == several]
        positions = {0, len(names) // 2, len(names) - 1} if names else set()
        selected += [names[position] for position in sorted(positions)]
    return selected


def _representative_panels(study: Study) -> tuple[dict[str, tuple[plots.Panels, str]], str]:
    """Return the panels of the representative cases by letter, and the cases' names by letter."""
    distance = study.observations.values[study.reader_key(DISTANCE, BETWEEN_READERS)]
    cases, names = {}, []
    for letter, name in zip("abcdef", representative_cases(study), strict=False):
        number = count_text(len(study.alternatives[name]), "alternative")
        panels = study.gallery[name]
        cases[letter] = (panels, f"{number}\nreaders differ\nby {distance[name]:.2f}")
        index = int(panels["index"])
        names.append(f"{letter}: {name}" + (f", slice {index + 1}" if index >= 0 else ""))
    return cases, "; ".join(names)


def _over_all_cases(study: Study, correlation: Estimate | None) -> bytes:
    """Plot the alternatives and the distances of all cases; ``correlation`` is that of the distances."""
    values = [
        np.array(list(study.observations.values[study.reader_key(*key)].values()))
        for key in (
            (ALTERNATIVES, None),
            (READINGS, None),
            (DISTANCE, BETWEEN_SAMPLES),
            (DISTANCE, BETWEEN_READERS),
        )
    ]
    title = f"rank correlation {estimate_text(correlation, 2)}" if correlation else ""
    return plots.alternatives_and_readers(*values, correlation=title)
