"""Write the tables of evaluations into docs/accuracy.md, each between the markers of its model.

python scripts/accuracy_tables.py REPORT/report.json ...
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "accuracy.md"
MEAN = "mean over classes"


def shown(figure: dict) -> str:
    """Return a value with its interval."""
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def summed_up(figures: list[dict]) -> list[dict]:
    """Return the means over classes where there are several classes, else everything."""
    return [f for f in figures if f.get("class_name") == MEAN] or figures


def tables(report: dict) -> Iterator[list[tuple[str, ...]]]:
    """Yield each table of a report as rows of cells, the header first."""

    def found(part: str, metric: str) -> list[dict]:
        return [f for f in report["figures"] if (f["part"], f["metric"]) == (part, metric)]

    rows = {}
    for metric in ("DSC", "IoU", "HD95", "NSD"):
        for f in found("overlap", metric):
            rows.setdefault((f["model"], f["class_name"]), [f]).append(f)
    unit, tolerance = report["settings"]["unit"], report["settings"]["tolerance"]
    yield [
        (
            "model",
            "class",
            "N",
            "K",
            "cases",
            "DSC",
            "IoU",
            f"HD95, {unit}",
            f"NSD at {tolerance:g} {unit}",
        ),
        *(
            (
                model,
                name,
                f"{first['samples']}",
                f"{first['steps']}",
                f"{first['cases']}",
                *map(shown, rest),
            )
            for (model, name), (first, *rest) in rows.items()
        ),
    ]
    steps = summed_up(found("steps", "DSC"))
    yield [
        ("model", "K, one sample", "DSC"),
        *((f["model"], f"{f['steps']}", shown(f)) for f in steps),
    ]
    noise = summed_up(found("noise", "DSC"))
    yield [
        ("model", "noise SD", "DSC"),
        *((f["model"], f"{f['noise']:g}", shown(f)) for f in noise),
    ]
    auroc = found("uncertainty", "AUROC")
    yield [
        ("errors of", "score", "AUROC", "cases"),
        *((f["model"], f["detail"], shown(f), f"{f['cases']}") for f in auroc),
    ]
    ece = found("uncertainty", "ECE")
    yield [
        ("model", "", "calibration error (ECE)"),
        *((f["model"], f["detail"] or "", shown(f)) for f in ece),
    ]
    coverage = found("uncertainty", "coverage")
    yield [
        ("volume interval", "class", "share that holds the expert's volume"),
        *((f["detail"], f["class_name"], shown(f)) for f in coverage),
    ]
    readers = [f for f in report["figures"] if f["part"] == "readers"]
    yield [
        ("figure", "N", "K", "cases", "value"),
        *(
            (
                f"{f['metric']} {f['detail'] or ''}".strip().replace("^2", "²"),
                f"{f['samples']}",
                f"{f['steps']}",
                f"{f['cases']}",
                shown(f),
            )
            for f in readers
        ),
    ]


def markdown(report: dict) -> str:
    """Return the tables that have rows."""
    data = report["data"]
    lines = [f"{data['cases']} cases of {data['patients']} patients ({data['source']})."]
    for header, *rows in tables(report):
        if rows:
            cells = [header, ("---",) * len(header), *rows]
            lines += ["", *(f"| {' | '.join(row)} |" for row in cells)]
    return "\n".join(lines)


def main() -> None:
    """Replace what stands between the markers of each report's model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path, nargs="+")
    text = PAGE.read_text()
    for path in parser.parse_args().reports:
        report = json.loads(path.read_text())
        name = report["checkpoint"]["name"]
        start, end = (
            f"<!-- {name}: written by scripts/accuracy_tables.py -->",
            f"<!-- end of {name} -->",
        )
        before, rest = text.split(start, 1)
        text = f"{before}{start}\n{markdown(report)}\n{end}{rest.split(end, 1)[1]}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
