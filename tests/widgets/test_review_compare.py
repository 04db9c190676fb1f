"""Comparing two label maps in the Review tab, and the overlay of their differences."""

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels

from napari_ldseg.layers.geometry import derived_attributes, layer_scan
from napari_ldseg.review.comparison import ONLY_FIRST, ONLY_SECOND, OTHER_CLASS, compare
from napari_ldseg.scans.files import write_like
from napari_ldseg.widgets.common.layers import PREVIEW_KEY

from .conftest import paint_at, result_layer

DIALOG = "napari_ldseg.widgets.review.compare_part.QFileDialog.getOpenFileName"


@pytest.fixture
def tab(viewer):
    """The Review tab without a result."""
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    return review


@pytest.fixture
def pair(viewer, oblique_file):
    """Two different label maps on an oblique, anisotropic volume."""
    (image,) = viewer.open(oblique_file[0], plugin="napari-ldseg")
    first = np.zeros(image.data.shape, np.uint8)
    first[3:9, 3:12, 4:10] = 1
    second = np.roll(first, 2, axis=1)
    second[5, 6, 5] = 2
    layers = [
        Labels(data, name=f"labels · {name}", **derived_attributes(image))
        for data, name in ((first, "reader A"), (second, "reader B"))
    ]
    for layer in layers:
        viewer.add_layer(layer)
    return layers


def compared(qtbot, tab):
    qtbot.waitUntil(lambda: not tab.comparer.busy, timeout=60_000)
    return tab.comparer.result


def test_two_layers_are_compared_and_the_overlay_is_in_its_place(qtbot, viewer, tab, pair):
    first, second = pair
    part = tab.compare_part
    assert part.first.currentText() == "labels · reader A"
    assert part.second.currentText() == "labels · reader B"
    part.compare.click()
    result = compared(qtbot, tab)
    scan = layer_scan(first)
    expected = compare(first.data, second.data, scan.spacing, scan.voxel_size)
    assert result.comparison.classes == expected.classes
    assert part.table.item(0, 1).text() == f"{expected.classes[0].dsc:.3f}"
    assert part.table.item(0, 2).text() == f"{expected.classes[0].hd95:.1f}"
    assert part.table.horizontalHeaderItem(2).text() == "HD95\nmm"
    overlay = result_layer(viewer, "difference")
    assert PREVIEW_KEY in overlay.metadata
    assert overlay.data[5, 6, 5] == OTHER_CLASS
    assert overlay.data[3, 3, 4] == ONLY_FIRST and overlay.data[3, 13, 4] == ONLY_SECOND
    np.testing.assert_array_equal(overlay.data > 0, first.data != second.data)
    np.testing.assert_allclose(overlay.extent.world, first.extent.world)
    np.testing.assert_allclose(layer_scan(overlay).affine, scan.affine)
    colours = {tuple(np.round(overlay.get_color(kind), 2)) for kind in (1, 2, 3)}
    assert len(colours) == 3
    assert "reader A" in part.legend.texts[0].text() and "reader B" in part.legend.texts[1].text()
    assert "difference" not in [part.first.itemText(i) for i in range(part.first.count())]
    part.clear.click()
    assert part.table.isHidden()
    qtbot.waitUntil(lambda: overlay not in viewer.layers)


def test_a_stroke_makes_the_comparison_outdated(qtbot, viewer, tab, pair):
    tab.compare_part.compare.click()
    compared(qtbot, tab)
    viewer.dims.set_current_step(0, 5)  # another slice is no change
    qtbot.wait(500)
    assert tab.compare_part.note.text() == ""
    paint_at(viewer, pair[0], (4, 2, 3), 1)
    qtbot.waitUntil(lambda: "press Compare again" in tab.compare_part.note.text())
    tab.compare_part.compare.click()
    compared(qtbot, tab)
    assert tab.compare_part.note.text() == ""
    assert result_layer(viewer, "difference").data[4, 2, 3] == ONLY_FIRST
    qtbot.waitUntil(lambda: sum("difference" in layer.name for layer in viewer.layers) == 1)


def test_a_reference_file_on_the_grid(qtbot, viewer, tab, pair, tmp_path, monkeypatch):
    first, second = pair
    path = write_like(tmp_path / "expert.nii.gz", second.data, layer_scan(first))
    viewer.layers.remove(second)
    assert not tab.compare_part.compare.isEnabled()
    monkeypatch.setattr(DIALOG, lambda *a: (str(path), ""))
    tab.compare_part.file.click()
    result = compared(qtbot, tab)
    assert result.second == "expert.nii.gz"
    np.testing.assert_array_equal(result.comparison.difference > 0, first.data != second.data)


@pytest.mark.parametrize("wrong", ["shape", "place"])
def test_a_reference_file_on_another_grid_is_refused(
    qtbot, viewer, tab, pair, tmp_path, monkeypatch, wrong, assert_sentence
):
    source = layer_scan(pair[0]).source
    data, affine = np.zeros(source.shape, np.uint8), np.array(source.affine)
    if wrong == "shape":
        data = data[1:]
    else:
        affine[:3, 3] += 3
    path = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(data, affine), path)
    monkeypatch.setattr(DIALOG, lambda *a: (str(path), ""))
    tab.compare_part.file.click()
    assert_sentence(tab.status.text(), "other.nii.gz", "reader A")
    assert tab.comparer.result is None


def test_the_map_gives_way_to_the_differences(qtbot, viewer, segmented, review_tab):
    labels, sd = segmented[1], result_layer(viewer, "uncertainty")
    other = Labels(np.roll(labels.data, 1, -1), name="other", **derived_attributes(labels))
    viewer.add_layer(other)
    viewer.layers.selection.active = labels
    assert review_tab.compare_part.first.currentText() == labels.name
    assert sd.visible
    review_tab.compare_part.compare.click()
    assert compared(qtbot, review_tab) is not None, review_tab.status.text()
    assert not sd.visible
    review_tab.compare_part.clear.click()
    assert sd.visible
