"""Scans of every format opened in the window: layers, the question which series, and what a project keeps."""

import zipfile

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_ldseg.layers.files import MODALITY_KEY
from napari_ldseg.layers.geometry import derived_attributes, layer_scan
from napari_ldseg.scans.files import read_scan
from napari_ldseg.widgets.common.series_dialog import SeriesDialog
from napari_ldseg.widgets.project.state import project_of

from ..dicom_files import PATIENT, clip, oblique, save, save_series, slices, volume
from ..zarr_files import ome_zarr
from .conftest import only_case, other_value, paint_at, result_layer, settle


def answer(how, seen):
    """Answer the next series dialog; ``how`` is called with it."""

    def look():
        dialogs = [w for w in QApplication.topLevelWidgets() if isinstance(w, SeriesDialog)]
        if not any(dialog.isVisible() for dialog in dialogs):
            QTimer.singleShot(50, look)
            return
        (dialog,) = (dialog for dialog in dialogs if dialog.isVisible())
        table = dialog.table
        cells = (
            [table.item(r, c).text() for c in range(table.columnCount())]
            for r in range(table.rowCount())
        )
        seen.extend(cells)
        how(dialog)

    QTimer.singleShot(0, look)


def test_a_dropped_folder_asks_which_series_and_shows_them_with_their_window(viewer, tmp_path):
    window = {"WindowCenter": "40", "WindowWidth": "400"}
    study = tmp_path / "study"
    save_series(study / "a", slices(volume((5, 6, 7)), SeriesDescription="Thorax", **window))
    save_series(study / "b", slices(volume((3, 6, 7)), SeriesDescription="Abdomen", SeriesNumber=8))
    seen = []
    answer(lambda dialog: dialog.accept(), seen)  # the largest one is selected
    (layer,) = viewer.open(study, plugin="napari-ldseg")
    assert seen == [
        ["3", "CT", "Thorax", "7 × 6", "5 slices"],
        ["8", "CT", "Abdomen", "7 × 6", "3 slices"],
    ]
    assert layer.data.shape == (5, 6, 7) and tuple(layer.contrast_limits) == (-160, 240)
    assert layer.name == "study_3_Thorax" and layer.metadata[MODALITY_KEY] == "CT"
    answer(lambda dialog: (dialog.table.selectAll(), dialog.accept()), [])
    assert len(viewer.open(study, plugin="napari-ldseg")) == 2
    answer(lambda dialog: dialog.reject(), [])
    assert viewer.open(study, plugin="napari-ldseg") == []
    for one in viewer.layers:
        shown = f"{one.name} {one.metadata}".casefold()
        assert not any(word.casefold() in shown for word in PATIENT.split("^"))


def test_dropped_slices_without_a_suffix_open_their_series_once(viewer, tmp_path):
    names = [f"IM{i:06d}" for i in range(4)] + ["1.2.840.10008.5"]
    paths = save_series(tmp_path / "disc", slices(volume()), names)
    (tmp_path / "disc" / "README").write_text("no image")
    (layer,) = viewer.open(paths, plugin=None)
    assert layer.data.shape == (5, 6, 7) and list(viewer.layers) == [layer]
    viewer.add_points([[0, 0, 0]])
    assert viewer.open(paths[2], plugin=None) == []
    assert viewer.layers.selection.active is layer and "is open already" in viewer.status
    viewer.layers.clear()
    assert len(viewer.open(paths[2], plugin=None)) == 1
    with pytest.raises(Exception, match="README"):
        viewer.open(tmp_path / "disc" / "README", plugin=None)


@pytest.mark.parametrize("kind", ["series", "clip", "zip", "zarr"])
def test_a_case_on_a_clinical_file_is_kept_without_a_copy_and_opened_again(
    qtbot, viewer, widget, model_file, run, tmp_path, kind
):
    path = made_file(tmp_path, kind)
    (image,) = viewer.open(path, plugin="napari-ldseg")
    widget.model.choose(model_file(2))
    if image.rgb:
        image = viewer.add_image(image.data[..., 0], **derived_attributes(image))
    shape = image.data.shape
    run(samples=2)
    labels = result_layer(viewer, "labels")
    assert labels.data.shape == shape
    index = tuple(n // 2 for n in shape)
    paint_at(viewer, labels, index, other_value(labels, index))
    settle(viewer)
    case = only_case(tmp_path / "project")
    expected = labels.data.copy()
    assert (case.record().image.name == "image.nii") == (kind == "clip")
    viewer.layers.clear()
    state = project_of(viewer)
    state.open_case(case.name)
    qtbot.waitUntil(lambda: any(isinstance(one, Labels) for one in viewer.layers), timeout=10_000)
    (again,) = (one for one in viewer.layers if isinstance(one, Labels))
    np.testing.assert_array_equal(again.data, expected)
    (shown,) = (one for one in viewer.layers if one.name == case.name)
    np.testing.assert_array_equal(shown.data, image.data)
    scan = read_scan(path)
    np.testing.assert_allclose(layer_scan(shown).affine, scan.affine, atol=1e-6)


def made_file(folder, kind):
    if kind == "clip":
        array = np.random.default_rng(0).integers(0, 255, (3, 24, 32, 3)).astype(np.uint8)
        return save(clip(array), folder / "us" / "clip.dcm")
    if kind == "zarr":
        return ome_zarr(folder / "a.ome.zarr", volume((5, 24, 28)), "zyx", (2.0, 0.5, 0.4))
    paths = save_series(folder / "ct", slices(volume((5, 24, 28)), oblique()))
    if kind == "series":
        return folder / "ct"
    with zipfile.ZipFile(folder / "ct.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    return folder / "ct.zip"
