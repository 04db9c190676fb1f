"""The table of a batch: one row per case, the highest expected error first."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import LDSegError
from ..utils.atomic import atomic_write, remove_leftovers
from .results import CaseResults, known_names, was_made_with

TABLE = "volumes.csv"
BEFORE = ("case", "image", "expected_error", "corrected", "unit")
AFTER = ("intervals calibrated", "intervals", "samples", "steps", "seed")


def write_table(folder: Path, settings: dict[str, Any], classes: Sequence[str]) -> Path:
    """Write volumes.csv with every case in ``folder`` that was finished with ``settings`` or corrected.

    Columns: case, image, expected error (``Posterior.expected_error``), whether the label was corrected since, unit (mm3,
    mm2, or voxels where an image tells no size), per class its volume in the label map and the interval's
    low and high end, whether the intervals are calibrated, and what they promise. Of a corrected label
    (with these ``classes``, whatever it was made with) the volumes are its own, and the expected error and intervals
    are left empty. A class that is called as another column is has "class " in front.

    Raises
    ------
    LDSegError
        If it cannot be written.
    """
    rows, columns = [], _columns(classes)
    for image, case in known_names(folder).items():
        results = CaseResults(folder, case)
        record = results.record()
        # A failure means that the image has changed since.
        if results.failure(image) is not None:
            continue
        with suppress(LDSegError):  # a label that cannot be read has no row
            if results.corrected(classes):
                rows.append(_row(case, record, columns, results.corrected_sizes()))
            elif was_made_with(record, settings):
                rows.append(_row(case, record, columns))
    rows.sort(key=lambda row: (-row.get("expected_error", -1), row["case"]))
    path = folder / TABLE
    try:
        remove_leftovers(path)
        with (
            atomic_write(path, ".csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, [*BEFORE, *chain(*columns.values()), *AFTER])
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error
    return path


def _columns(classes: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Return each class's columns for its size and the interval's ends, all of different names."""
    columns: dict[str, tuple[str, str, str]] = {}
    taken = {*BEFORE, *AFTER}
    for name in classes:
        shown = name
        while not taken.isdisjoint(own := (shown, f"{shown} low", f"{shown} high")):
            shown = f"class {shown}"
        columns[name] = own
        taken.update(own)
    return columns


def _row(
    name: str,
    record: dict[str, Any],
    columns: dict[str, tuple[str, str, str]],
    corrected: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return the row of a case; ``corrected`` has each class's size in a corrected label."""
    row = {
        "case": name,
        "image": record["image"],
        "corrected": "no" if corrected is None else "yes",
        "unit": record["unit"],
        "samples": record["samples"],
        "steps": record["provenance"]["steps"],
        "seed": record["provenance"]["seed"],
    }
    if corrected is not None:
        return row | {columns[c][0]: round(size, 3) for c, size in corrected.items()}
    for class_name, sizes in record["classes"].items():
        values = (sizes["size"], *(sizes["interval"] or ()))
        row |= {column: round(v, 3) for column, v in zip(columns[class_name], values, strict=False)}
    return row | {
        "expected_error": round(record["expected_error"], 5),
        "intervals calibrated": "yes" if record["calibrated"]["intervals"] else "no",
        "intervals": record["calibrated"]["meaning"],
    }
