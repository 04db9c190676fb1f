"""Colours of the maps over the image: ordered for colour-blind people too, and unlike the class colours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap
from qtpy.QtGui import QColor

MAX_OPACITY = 0.7  # so that the image stays visible
RAMPS = ("inferno", "viridis", "magenta")  # all rise evenly in lightness
CLEAR = 20.0  # CIEDE2000 between an outline and the map below it
SEEN = 0.3  # from this share of the range on, a map's colour is strong enough to hide an outline


def map_colormap(ramp: str, threshold: float = 0.0) -> Colormap:
    """Return ``ramp``, transparent below the share ``threshold`` of the range, opaque enough above it."""
    colours = np.array(ensure_colormap(ramp).colors)
    position = np.linspace(0, 1, len(colours))
    colours[:, 3] = np.where(position < threshold, 0, MAX_OPACITY * np.minimum(1, 2 * position))
    return Colormap(colours, name=f"{ramp} map")


def ramp_for(class_colours: Sequence[str]) -> str:
    """Return the first of ``RAMPS`` on which outlines of these colours (#rrggbb) are clear.

    If they are clear on none, it is the one on which the least clear outline is clearest.
    """
    return _ramp_for(tuple(class_colours))


@lru_cache(maxsize=64)
def _ramp_for(class_colours: tuple[str, ...]) -> str:
    distances = [clearness(class_colours, ramp) for ramp in RAMPS]
    clear = [d >= CLEAR for d in distances]
    return RAMPS[clear.index(True) if any(clear) else int(np.argmax(distances))]


def clearness(class_colours: Sequence[str], ramp: str) -> float:
    """Return the smallest CIEDE2000 difference between the colours and the strong part of ``ramp``."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    if not class_colours:
        return np.inf
    colours = ensure_colormap(ramp).colors[:, :3]
    strong = rgb2lab(colours[round(SEEN * len(colours)) :])
    classes = rgb2lab(np.array([QColor(c).getRgbF()[:3] for c in class_colours]))
    return float(deltaE_ciede2000(classes[:, None], strong[None]).min())
