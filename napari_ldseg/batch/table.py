"""The table of a batch: one row per case, sorted by expected error."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import LDSegError
from ..utils.atomic import atomic_write, remove_leftovers
from ..utils.text import csv_cell
from .results import CaseResults, known_names, was_made_with

TABLE = "volumes.csv"
BEFORE = ("case", "image", "expected_error", "corrected", "unit")
AFTER = ("ranking", "intervals calibrated", "intervals", "warning", "samples", "steps", "seed")


def write_table(folder: Path, settings: dict[str, Any], classes: Sequence[str]) -> Path:
    """Write volumes.csv with every case in ``folder`` that was finished with ``settings`` or corrected.

    Columns: case, image, ``Posterior.expected_error``, whether the label was corrected since, unit (mm3,
    mm2, or voxels if the voxel size is not known), for each class its volume in the label map and the
    low and high end of its interval, a warning if the expected error does not rank cases, whether the
    intervals are calibrated, their meaning, and a warning if the image is unlike the training images. The
    row of a corrected label (with these ``classes``, made with any settings) has the volumes of this label,
    and its expected error and intervals are empty. The highest expected error goes first. A class with
    the name of another column is prefixed with "class ", and a text that a spreadsheet would take for a
    formula with an apostrophe.

    Raises
    ------
    LDSegError
        If it cannot be written.
    """
    rows, columns = [], _columns(classes)
    for image, case in known_names(folder).items():
        results = CaseResults(folder, case)
        record = results.record()
        if results.outdated(image):
            continue
        with suppress(LDSegError):  # there is no row for a label that cannot be read
            if results.corrected(classes):
                rows.append(_row(case, record, columns, results.corrected_sizes()))
            elif was_made_with(record, settings):
                rows.append(_row(case, record, columns))
    rows.sort(key=lambda row: (-(row.get("expected_error") or 0.0), row["case"]))
    path = folder / TABLE
    try:
        remove_leftovers(path)
        with (
            atomic_write(path, ".csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            header = [*BEFORE, *chain(*columns.values()), *AFTER]
            writer = csv.writer(file)
            writer.writerow(csv_cell(name) for name in header)
            writer.writerows([csv_cell(row.get(name, "")) for name in header] for row in rows)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error
    return path


def _columns(classes: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Return each class's columns for its size and the ends of its interval, with unique names."""
    columns: dict[str, tuple[str, str, str]] = {}
    used = {*BEFORE, *AFTER}
    for name in classes:
        column = name
        while not used.isdisjoint(own := (column, f"{column} low", f"{column} high")):
            column = f"class {column}"
        columns[name] = own
        used.update(own)
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
        "ranking": record.get("expected_error_ranking") or "",
        "warning": record.get("warning") or "",
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
        "expected_error": "" if (error := record["expected_error"]) is None else round(error, 5),
        "intervals calibrated": "yes" if record["calibrated"]["intervals"] else "no",
        "intervals": record["calibrated"]["meaning"],
    }
