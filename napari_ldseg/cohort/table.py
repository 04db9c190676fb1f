"""The cohort's table: one row per case, the most doubtful first."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ..atomic import remove_leftovers, written_whole
from ..errors import LDSegError
from .results import RECORDS, CaseResults, was_made_with

TABLE = "volumes.csv"


def write_table(folder: Path, settings: dict[str, Any]) -> Path:
    """Write volumes.csv with every case in ``folder`` that was finished with ``settings``.

    Columns: case, image, doubt (``inference.doubt``), unit (mm3, mm2, or voxels where an image tells no
    size), per class its volume in the label map and the interval's low and high end, whether the
    intervals are calibrated, and what they promise.
    """
    rows = []
    for case in sorted((folder / RECORDS).glob("*.json")):
        results = CaseResults(folder, case.stem)
        record = results.record()
        # A failure means that the image has changed since.
        if was_made_with(record, settings) and results.failure(record["image"]) is None:
            rows.append(_row(case.stem, record))
    rows.sort(key=lambda row: (-row["doubt"], row["case"]))
    path = folder / TABLE
    try:
        remove_leftovers(path)
        with (
            written_whole(path, ".csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["case"])
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error
    return path


def _row(name: str, record: dict[str, Any]) -> dict[str, Any]:
    row = {
        "case": name,
        "image": record["image"],
        "doubt": round(record["doubt"], 5),
        "unit": record["unit"],
    }
    for class_name, sizes in record["classes"].items():
        low, high = sizes["interval"] or (None, None)
        for column, value in (("", sizes["size"]), (" low", low), (" high", high)):
            row[class_name + column] = value if value is None else round(value, 3)
    calibrated = record["calibrated"]
    return row | {
        "intervals calibrated": "yes" if calibrated["intervals"] else "no",
        "intervals": calibrated["meaning"],
        "samples": record["samples"],
        "steps": record["provenance"]["steps"],
        "seed": record["provenance"]["seed"],
    }
