"""The units of length that image files use, under all their names."""

from __future__ import annotations

MM_PER_UNIT = {
    **dict.fromkeys(("m", "meter"), 1000.0),
    **dict.fromkeys(("dm", "decimeter"), 100.0),
    **dict.fromkeys(("cm", "centimeter"), 10.0),
    **dict.fromkeys(("mm", "millimeter"), 1.0),
    **dict.fromkeys(("um", "µm", "micron", "microns", "micrometer"), 1e-3),
    **dict.fromkeys(("nm", "nanometer"), 1e-6),
    "angstrom": 1e-7,
    **dict.fromkeys(("in", "inch"), 25.4),
}


def mm_per_unit(name: object) -> float | None:
    """Return the millimetres of a unit of length, in any case; None if it is none."""
    # ImageJ writes the letter mu as an escape; Unicode has two of them.
    text = str(name).strip().strip('"').strip().lower()
    return MM_PER_UNIT.get(text.replace("\\u00b5", "µ").replace("μ", "µ"))
