"""Tables of what the Review tab gains, from the measurements in docs/data.

regions.json, conditioning.json, alternatives.json and review_gui.json are written by the benchmarks of the same names. The
documentation's pages ask for the tables by name (see scripts/docs_hook.py).
"""

from __future__ import annotations

from accuracy_tables import markdown, read_data

LOOKING = 0, 1, 2  # times the time that readers are assumed to look
METHODS = {
    "painting": "painting alone",
    "paint and keep": "paint and keep",
    "weights, global": "weights, the same everywhere",
    "weights, local": "weights around the strokes",
    "conditioning": "update (the product)",
}


def regions_table() -> str:
    """Return the share of wrong voxels in the first five regions, as Markdown."""
    head = (
        "model",
        "cases",
        "first five regions",
        "as many voxels along the boundary",
        "five views of the same size",
        "as many uncertain voxels",
        "share of the image",
    )
    rows = []
    for name, model in read_data("regions")["models"].items():
        means = model["means"]
        shares = [f"{means[key]['mean']:.0%}" for key in ("regions", "boundary", "views", "band")]
        rows.append((f"`{name}`", str(model["cases"]), *shares, f"{means['image']['mean']:.1%}"))
    return markdown(head, rows)


def conditioning_table(name: str) -> str:
    """Return the DSC against the number of strokes of the model ``name``, as Markdown."""
    content = read_data("conditioning")
    strokes, model = content["settings"]["strokes"], content["models"][name]
    head = ("strokes", *map(str, strokes), f"gain at {strokes[-1]}")
    rows = []
    for key, title in METHODS.items():
        if key not in model["methods"]:  # the same as painting, from the label map
            continue
        method = model["methods"][key]
        gain = "" if key == "painting" else _with_interval(*method["gain"][-1])
        rows.append((title, *(f"{value:.3f}" for value in method["dsc"]), gain))
    return f"{len(model['cases'])} cases, from the {model['start']}:\n\n{markdown(head, rows)}"


def alternatives_table() -> str:
    """Return how near the alternatives come to each of four readers on `lidc`, as Markdown."""
    means = read_data("alternatives")["means"]["all"]
    titles = {
        "label map": "the label map (N = 10)",
        "alternatives": "the best of the distinct alternatives",
        "random samples": "the best of as many random samples",
        "all samples": "the best of all 16 samples",
    }
    rows = [
        (title, *(_interval(means[metric][key]) for metric in ("IoU", "Dice")))
        for key, title in titles.items()
    ]
    return markdown(("outline", "IoU", "Dice"), rows)


def clicks_table() -> str:
    """Return what it takes to reach the expert's label by brush alone and with the Review tab, as Markdown."""
    head = (
        "case",
        "DSC before",
        "target",
        "reader",
        "way",
        "presses",
        "keys",
        "strokes",
        "of these lines",
        "looks",
    )
    times = tuple(f"s, looking x {factor}" for factor in LOOKING)
    rows = []
    for case in read_data("review_gui")["cases"]:
        name = f"{case['model']} {case['case']}"
        for reader in ("oracle", "searching"):
            for way, title in (("brush", "brush alone"), ("review", "Review tab")):
                cost = case[reader][way]
                about = (name, f"{case['start']:.3f}", f"{case['target']:.3f}", reader, title)
                counts = (
                    str(cost[key]) for key in ("presses", "keys", "strokes", "lines", "looks")
                )
                total = (f"{cost['hand_s'] + f * cost['looking_s']:.0f}" for f in LOOKING)
                rows.append((*about, *counts, *total))
    return markdown((*head, *times), rows)


def _interval(mean: dict[str, float]) -> str:
    return f"{mean['mean']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})"


def _with_interval(mean: float, low: float, high: float) -> str:
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
