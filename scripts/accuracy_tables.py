"""Keep evaluations for the documentation, and turn them into tables and single values.

python scripts/accuracy_tables.py REPORT/report.json ...

writes each report, without its cases, to docs/data/<model>.json. The documentation's pages ask for tables
and values by name (see scripts/docs_hook.py), so a number stands in one place only.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from napari_ldseg.checkpoint.metadata import BASELINES

DATA = Path(__file__).resolve().parents[1] / "docs" / "data"
KEPT = ("format_version", "napari_ldseg", "checkpoint", "baseline", "data", "settings", "figures")
MEAN = "mean over classes"

Metric = dict[str, Any]
Rows = Sequence[tuple[str, ...]]


@functools.cache
def read_data(name: str) -> Any:
    """Return what is measured in docs/data under ``name``, such as the report kept for a model."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def keep_report(report: dict[str, Any]) -> Path:
    """Write ``report`` without its cases to docs/data and return the file."""
    path = DATA / f"{report['checkpoint']['name']}.json"
    kept = {key: report[key] for key in KEPT if key in report}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def find(name: str, part: str, metric: str, **wanted: Any) -> list[Metric]:
    """Return the metrics of a report whose fields have the ``wanted`` values."""
    return [
        one
        for one in read_data(name)["figures"]
        if (one["part"], one["metric"]) == (part, metric)
        and all(one.get(key) == value for key, value in wanted.items())
    ]


def value_of(name: str, part: str, metric: str, **wanted: Any) -> Metric:
    """Return the one metric that fits; by default of the checkpoint, and the mean over classes.

    Raises
    ------
    LookupError
        If none or several fit.
    """
    report = read_data(name)
    if part != "readers":
        wanted.setdefault("model", report["checkpoint"]["label"])
    found = find(name, part, metric, **wanted)
    if "class_name" not in wanted:
        found = summed_up(found)
    if len(found) != 1:
        raise LookupError(f"{len(found)} metrics of {name} fit {part} {metric} {wanted}")
    return found[0]


def evaluated(
    name: str, part: str, metric: str, *, digits: int = 3, interval: bool = False, **wanted: Any
) -> str:
    """Return one value of the evaluation of model ``name`` as text, with its interval if asked for."""
    return shown(value_of(name, part, metric, **wanted), digits, interval)


def lost_to_noise(name: str, sd: float, *, digits: int = 0, network: str | None = None) -> str:
    """Return how much of the DSC without noise is lost at noise of ``sd``, in percent."""
    which = {} if network is None else {"model": network}
    clean, noisy = (value_of(name, "noise", "DSC", noise=n, **which)["value"] for n in (0.0, sd))
    return f"{100 * (1 - noisy / clean):.{digits}f} %"


def shown(metric: Metric, digits: int = 3, interval: bool = True) -> str:
    """Return a value, with its interval where there is one."""
    text = f"{metric['value']:.{digits}f}"
    if not interval or metric.get("low") is None:
        return text
    # A line may break before the interval, not inside it.
    return f"{text} ({metric['low']:.{digits}f}\u00a0to\u00a0{metric['high']:.{digits}f})"


def summed_up(metrics: list[Metric]) -> list[Metric]:
    """Return the means over classes where there are several classes, else everything."""
    return [m for m in metrics if m.get("class_name") == MEAN] or metrics


def tables(name: str) -> str:
    """Return a sentence on what was evaluated and the tables of model ``name`` as Markdown."""
    report = read_data(name)
    lines = [evaluation(report)]
    for caption, header, rows in _tables(name, report):
        if rows:
            lines += ["", f"**{caption}**", "", markdown(header, rows)]
    return "\n".join(lines)


def rivals_table(content: dict[str, Any] | None = None) -> str:
    """Return what benchmarks/rivals.py measured of LDSeg and its rivals, as tables in Markdown.

    ``content`` is that of its rivals.json, by default of the one in docs/data.
    """
    if content is None:
        content = read_data("rivals")
    return "\n\n".join(
        markdown(head, lines)
        for head, *lines in (
            _accuracy_of_rivals(content["rows"]),
            _price_of_rivals(content["rows"]),
            _readers_of_rivals(content.get("readers", {})),
        )
        if lines
    )


def _accuracy_of_rivals(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    steps = ("1", "2", "10", "50")
    table = [
        (
            *("method", "updates", *(f"DSC, K = {k}" for k in steps), "steps needed"),
            *("DSC, mean of 10", "NSD, mean of 10", "DSC lost to noise of SD 0.2"),
        )
    ]
    for name, row in rows.items():
        figures = row["figures"]
        dsc, mean, needed = figures["dsc"], figures["mean_of_samples"], figures["steps_needed"]
        known = (f"{dsc[k]:.3f}" if k in dsc else "-" for k in steps)
        values = (mean["dsc"], mean["nsd"], figures["noise_loss"]["0.2"])
        last = (f"{value:.3f}" for value in values)
        table.append((name, str(row["updates"]), *known, str(needed or "-"), *last))
    return table


def _price_of_rivals(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = []
    for name, row in rows.items():
        cost = row["figures"]["cost"]
        if not table:
            heads = (f"{unit}, {size}" for unit in ("s", "MiB") for size in cost)
            table.append(("method", "million weights", "s per update", *heads))
        figures = (f"{row['figures']['weights'] / 1e6:.2f}", f"{row['seconds_per_update']:.2f}")
        seconds = (f"{one['seconds']:.3f}" for one in cost.values())
        table.append((name, *figures, *seconds, *(f"{one['mib']:.0f}" for one in cost.values())))
    return table or [()]


def _readers_of_rivals(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    table = [("method", "updates", "samples", "GED², K = 1", "GED², K = 2", "GED², K = 10")]
    for name, row in rows.items():
        ged = row["figures"]["ged"]
        known = (f"{ged[k]:.3f}" if k in ged else "-" for k in ("1", "2", "10"))
        table.append((name, str(row["updates"]), str(row["figures"]["samples"]), *known))
    return table


def probability_table() -> str:
    """Return what benchmarks/probability.py measured of the kinds of probability, as Markdown."""
    titles = {"samples": "samples alone", "estimate": "estimate alone", "both": "mean of both"}
    rows = [
        (f"`{name}` ({model['cases']})", title, *(shown(model[kind][m]) for m in ("AUROC", "ECE")))
        for name, model in read_data("probability")["models"].items()
        for kind, title in titles.items()
    ]
    return markdown(("model (cases)", "probability", "AUROC", "calibration error (ECE)"), rows)


def markdown(head: Sequence[str], rows: Rows) -> str:
    """Return a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def evaluation(report: dict[str, Any]) -> str:
    """Return what was evaluated, in words."""
    data, settings, checkpoint = report["data"], report["settings"], report["checkpoint"]
    drawn = data.get("available", data["cases"])
    cases = (
        f"{data['cases']} cases" if drawn == data["cases"] else f"{data['cases']} of {drawn} cases"
    )
    details = [data["source"]]
    if data["patients"] != data["cases"]:
        details.append(f"{data['patients']} patients")
    if data["readers"] > 1:
        details.append(f"{data['readers']} readers each")
    return (
        f"Evaluated on {cases} ({'; '.join(details)}). The distribution "
        f"has N = {settings['samples']} samples of K = {settings['steps']} steps; the label map is one "
        f"sample of K = {checkpoint['label_steps']} steps."
    )


def _tables(name: str, report: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """Yield the caption, the header and the rows of each table."""
    settings = report["settings"]
    surface = (f"HD95, {settings['unit']}", f"NSD at {settings['tolerance']:g} {settings['unit']}")
    rows: dict[tuple[str, str], list[Metric]] = {}
    for metric in ("DSC", "IoU", "HD95", "NSD"):
        for one in find(name, "overlap", metric):
            rows.setdefault((one["model"], one["class_name"]), []).append(one)
    yield (
        "Overlap with the expert",
        ("model", "class", "cases", "DSC", "IoU", *surface),
        [
            (network, structure, f"{same[0]['cases']}", *map(shown, same))
            for (network, structure), same in rows.items()
        ],
    )
    yield (
        f"Sampling steps, one sample ({_averaged(report)})",
        ("model", "K", "DSC"),
        [(m["model"], _steps(report, m), shown(m)) for m in summed_up(find(name, "steps", "DSC"))],
    )
    yield (
        f"Noise added to the image, label map ({_averaged(report)})",
        ("model", "noise SD", "DSC"),
        [(m["model"], f"{m['noise']:g}", shown(m)) for m in summed_up(find(name, "noise", "DSC"))],
    )
    yield (
        "Error detection near the predicted boundary",
        ("errors of", "score", "AUROC", "cases"),
        [
            (m["model"], m["detail"], shown(m), f"{m['cases']}")
            for m in find(name, "uncertainty", "AUROC")
        ],
    )
    yield (
        "Calibration of the probabilities near the predicted boundary",
        ("model", "probability", "calibration error (ECE)", "cases"),
        [
            (m["model"], m["detail"] or "as shown", shown(m), f"{m['cases']}")
            for m in find(name, "uncertainty", "ECE")
        ],
    )
    yield (
        "Volume intervals",
        ("interval", "class", "share that holds the expert's volume"),
        [(m["detail"], m["class_name"], shown(m)) for m in find(name, "uncertainty", "coverage")],
    )
    yield (
        "Samples and readers",
        ("metric", "cases", "value"),
        [
            (_name(m), f"{m['cases']}", shown(m))
            for m in report["figures"]
            if m["part"] == "readers"
        ],
    )


def _averaged(report: dict[str, Any]) -> str:
    _, *structures = report["data"]["classes"]
    return MEAN if len(structures) > 1 else structures[0]


def _steps(report: dict[str, Any], metric: Metric) -> str:
    """Return K of a metric; a deterministic baseline has none."""
    baseline = report.get("baseline") or {}
    deterministic = baseline.get("networks") in BASELINES
    return "–" if deterministic and metric["model"] == baseline["label"] else f"{metric['steps']}"


def _name(metric: Metric) -> str:
    return f"{metric['metric']} {metric['detail'] or ''}".strip().replace("^2", "²")


def main() -> None:
    """Keep the reports that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reports", type=Path, nargs="+")
    for path in parser.parse_args().reports:
        print(keep_report(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
