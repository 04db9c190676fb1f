"""The colours that classes have until somebody chooses others."""

from __future__ import annotations

import colorsys

BACKGROUND = "#000000"
# Okabe and Ito's colours, which colour-blind people can tell apart; black is left out.
PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def class_colour(value: int) -> str:
    """Return the colour of label ``value`` as #rrggbb: black for 0, then the palette, then other hues."""
    if value <= 0:
        return BACKGROUND
    if value <= len(PALETTE):
        return PALETTE[value - 1]
    rgb = colorsys.hsv_to_rgb(value * 0.618034 % 1, 0.75, 0.95)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
