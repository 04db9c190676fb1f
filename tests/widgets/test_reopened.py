"""A reopened case has its uncertainty, its predictive SD and its table again."""

import numpy as np

from .conftest import click, only_case, other_value, paint_at, remove_all, result_layer, settle


def maps_written(folder):
    files = [only_case(folder).folder / f"{n}_sd.nii.gz" for n in ("sample", "predictive")]
    return all(file.is_file() for file in files)


def reopen(qtbot, viewer, panel):
    remove_all(qtbot, viewer)
    qtbot.waitUntil(lambda: not panel.project_state.labels.finishing, timeout=10_000)
    panel.cases.selectRow(0)
    click(panel.open)
    qtbot.waitUntil(lambda: any(x.name.startswith("labels") for x in viewer.layers), timeout=10_000)


def test_a_reopened_case_has_its_uncertainty_and_its_table(
    qtbot, viewer, widget, panel, segmented, folder
):
    _, labels = segmented
    sd = result_layer(viewer, "uncertainty").data.copy()
    spread = result_layer(viewer, "sample SD").data.copy()
    caption = widget.legend._caption.text()
    paint_at(viewer, labels, (4, 10, 12), other_value(labels, (4, 10, 12)))
    settle(viewer)
    qtbot.waitUntil(lambda: maps_written(folder), timeout=10_000)
    reopen(qtbot, viewer, panel)
    again = result_layer(viewer, "uncertainty")
    np.testing.assert_allclose(again.data, sd, atol=1e-6)
    np.testing.assert_allclose(result_layer(viewer, "sample SD").data, spread, atol=1e-6)
    assert again.visible and not result_layer(viewer, "sample SD").visible
    layers = list(viewer.layers)
    assert layers.index(again) < layers.index(result_layer(viewer, "labels"))
    qtbot.waitUntil(lambda: widget.legend.isVisible(), timeout=5000)
    assert widget.legend._caption.text() == caption
    table = widget.legend._table
    qtbot.waitUntil(lambda: "corrected" in (table.item(0, 2).text(), table.item(1, 2).text()))


def test_an_applied_update_stores_its_own_uncertainty(
    qtbot, viewer, widget, run, panel, segmented, folder
):
    _, labels = segmented
    paint_at(viewer, labels, (4, 10, 12), other_value(labels, (4, 10, 12)))
    settle(viewer)
    qtbot.waitUntil(lambda: maps_written(folder), timeout=10_000)
    first = only_case(folder).load_maps()["predictive_sd"]
    widget.seed.setValue(8)
    run(samples=3)
    new = result_layer(viewer, "uncertainty").data.copy()
    click(widget.update_notice.first)
    case = only_case(folder)

    def stored():
        maps = case.load_maps()
        return "predictive_sd" in maps and np.allclose(maps["predictive_sd"], new, atol=1e-6)

    qtbot.waitUntil(stored, timeout=10_000)
    assert not np.allclose(new, first)


def test_a_case_without_a_result_has_no_uncertainty(qtbot, viewer, panel, scan_file, folder):
    from napari_ldseg.checkpoint.metadata import ClassInfo
    from napari_ldseg.widgets.common.class_labels import labels_on

    (image,) = viewer.open(scan_file, plugin="napari-ldseg")
    labels = viewer.add_layer(labels_on(image, {1: ClassInfo(name="bone", colour="#ff0000")}))
    paint_at(viewer, labels, (4, 10, 12), 1)
    settle(viewer)
    reopen(qtbot, viewer, panel)
    assert not [layer for layer in viewer.layers if "SD" in layer.name or "uncert" in layer.name]
