"""The report's chapter on several readers."""

from __future__ import annotations

import numpy as np

from . import plots as figures
from .alternatives import ALTERNATIVES, BETWEEN_READERS, BETWEEN_SAMPLES, DISTANCE, READINGS
from .bootstrap import Estimate
from .results import reader_correlations
from .section import Plot, Section, Table, classes_of, counted, sampling_text, shown
from .study import SHOWN_ALTERNATIVES, Study


def readers_section(study: Study) -> Section:
    """Return what is said, tabled and drawn of the part ``readers``."""
    correlations = reader_correlations(study)
    observed = dict(study.observations.estimates(part="readers")) | correlations
    number = min(len(case.read_labels) for case in study.cases)
    rows = [
        (
            f"{key.metric} {key.detail or ''}".replace("^2", "²"),
            shown(e),
            f"{e.cases} ({e.patients})",
        )
        for key, e in observed.items()
    ]
    sampling = sampling_text(study.main_sampling.samples, study.main_sampling.steps)
    table = Table(
        f"{study.model.label}, {sampling}, {number} readers",
        ("figure", "value", "cases (patients)"),
        rows,
    )
    text = (
        "The samples as a distribution, against the labels of all readers. GED² is 0 where both "
        "distributions agree; matched IoU is 1 where every reader has a sample just like it. In the "
        "other chapters the expert is the readers' majority, in which equal votes count for the "
        "structure.",
        "Samples that are alike make one alternative: two outlines are different if they share less "
        "than half of what they cover together, or if only one of them is empty. A single sample "
        "that is like no other makes none; two that show a structure where all others show none do, "
        "even if they differ. Where the posterior has one mode there is one alternative.",
        "The readers' different readings are counted in the same way, but there a single reader "
        "counts. A reader is covered by an alternative that shares at least half with the reader's "
        "outline. Distance is 1 - IoU, the mean over the pairs of a case. Do the samples differ where "
        "the readers differ, and show nothing where readers saw nothing? That is the rank correlation: 1 is "
        "always, 0 is no more than by chance.",
    )
    telling, names = _representative_panels(study)
    pictures = (
        Plot(
            figures.alternatives(telling, classes_of(study)),
            "What the readers saw, the alternatives of the model with how many samples each stands "
            "for (all differ: they agree that there is something, not on its outline), and the single "
            "samples that are like no other. Of the cases with one alternative, and again of those "
            "with several: the case whose readers agree most, the middle one, and the one whose "
            f"readers differ most. At most {SHOWN_ALTERNATIVES} alternatives are shown; of a volume, "
            f"the slice with most of the expert's structures. {names}.",
        ),
        Plot(
            _over_all_cases(study, next(iter(correlations.values()), None)),
            "All cases. Left: how many alternatives the model shows where the readers have one, two "
            "or more different readings. Right: each case is a point; on the dotted line the samples "
            "differ as much as the readers.",
        ),
    )
    return Section("readers", "Several readers", text, (table,), pictures)


def representative_cases(study: Study) -> list[str]:
    """Return the cases whose alternatives are shown: first those with one, then with several.

    Of both, the least, the middle and the largest distance between readers; ties by name.
    """
    distance = study.observations.values[study.reader_key(DISTANCE, BETWEEN_READERS)]
    ranked = sorted(distance, key=lambda name: (distance[name], name))
    chosen = []
    for several in (False, True):
        names = [name for name in ranked if (len(study.alternatives[name]) > 1) == several]
        places = {0, len(names) // 2, len(names) - 1} if names else set()
        chosen += [names[place] for place in sorted(places)]
    return chosen


def _representative_panels(study: Study) -> tuple[dict[str, tuple[figures.Panels, str]], str]:
    """Return the pictures of the telling cases by letter, and which cases the letters are."""
    distance = study.observations.values[study.reader_key(DISTANCE, BETWEEN_READERS)]
    cases, names = {}, []
    for letter, name in zip("abcdef", representative_cases(study), strict=False):
        number = counted(len(study.alternatives[name]), "alternative")
        pictures = study.gallery[name]
        cases[letter] = (pictures, f"{number}\nreaders differ\nby {distance[name]:.2f}")
        index = int(pictures["index"])
        names.append(f"{letter}: {name}" + (f", slice {index + 1}" if index >= 0 else ""))
    return cases, "; ".join(names)


def _over_all_cases(study: Study, correlation: Estimate | None) -> bytes:
    """Draw the alternatives and the distances of all cases; ``correlation`` is that of the distances."""
    wanted = (ALTERNATIVES, None), (READINGS, None), (DISTANCE, BETWEEN_SAMPLES)
    found = [
        np.array(list(study.observations.values[study.reader_key(*key)].values()))
        for key in (*wanted, (DISTANCE, BETWEEN_READERS))
    ]
    title = f"rank correlation {shown(correlation, 2)}" if correlation else ""
    return figures.alternatives_and_readers(*found, correlation=title)
