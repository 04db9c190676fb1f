"""The report's chapter on several readers."""

from __future__ import annotations

from . import figures
from .chapter import Picture, Section, Table, classes_of, examples, run_text, shown
from .study import Study


def readers_chapter(study: Study) -> Section:
    """Return what is said, tabled and drawn of the part ``readers``."""
    observed = list(study.observations.estimates(part="readers"))
    number = min(len(case.read_labels) for case in study.cases)
    rows = [
        (str(key.metric).replace("^2", "²"), shown(e), f"{e.cases} ({e.patients})")
        for key, e in observed
    ]
    run = run_text(study.main_run.samples, study.main_run.steps)
    table = Table(
        f"{study.model.label}, {run}, {number} readers",
        ("figure", "value", "cases (patients)"),
        rows,
    )
    text = (
        "The samples as a distribution, against the labels of all readers. GED² is 0 where both "
        "distributions agree; matched IoU is 1 where every reader has a sample just like it. In the "
        "other chapters the expert is the readers' majority, in which equal votes count for the "
        "structure."
    )
    drawing = figures.readers_and_samples(examples(study), classes_of(study))
    caption = "Readers and the first samples of the best, the median and the worst case."
    return Section("readers", "Several readers", (text,), (table,), (Picture(drawing, caption),))
