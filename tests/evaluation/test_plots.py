"""Plots of the report, with any text in the names."""

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.evaluation.plots import predictions


@pytest.mark.parametrize(
    "case, name, model",
    [("case", r"fat $\x$", "m"), ("case $a_$: x", "fat", "m"), ("case", "fat", "$m^$")],
)
def test_a_dollar_sign_in_a_name_is_drawn_as_it_is(case, name, model):
    image = np.zeros((20, 20), np.uint8)
    label = np.pad(np.ones((4, 4), np.uint8), 8)
    classes = [
        ClassInfo(name="background", colour="#000000"),
        ClassInfo(name=name, colour="#ff0000"),
    ]
    panels = {"image": image, "aspect": np.array(1.0), "expert": label, "label": label}
    assert predictions({case: (panels, "")}, classes, [model]).startswith(b"\x89PNG")
