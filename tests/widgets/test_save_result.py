"""Saving a result from the window: a menu of what fits the image, the file, and a sentence if it fails."""

import numpy as np
import SimpleITK as sitk
import tifffile
from dicom_series import write_ct_series
from napari.layers import Labels

from napari_ldseg.export.formats import FORMATS
from napari_ldseg.layers.files import read_layers
from napari_ldseg.layers.geometry import derived_attributes
from napari_ldseg.layers.results import layer_result, write_result
from napari_ldseg.scans.files import read_scan

from ..export import cases

DIALOG = "napari_ldseg.widgets.project.save_result.QFileDialog.getSaveFileName"


def action(menu, text):
    return next(action for action in menu.actions() if action.text() == text)


def save(qtbot, monkeypatch, widget, choice, path):
    """Choose an entry of the menu and wait until it is saved or has failed."""
    monkeypatch.setattr(DIALOG, lambda *args: (str(path), ""))
    choice.trigger()
    qtbot.waitUntil(lambda: not widget.status.text().startswith("Saving"), timeout=20_000)
    return widget.status.text()


def test_a_result_is_saved_from_the_review_tab(qtbot, segmented, review_tab, tmp_path, monkeypatch):
    labels, button = segmented[1], review_tab.save_result
    button.fill()
    texts = [entry.text() for entry in button.choices.actions() if not entry.isSeparator()]
    assert (
        texts[0] == "NIfTI …" and "NRRD (3D Slicer) …" in texts and texts[-1] == "Report (HTML) …"
    )
    assert "PNG …" not in texts and "DICOM Segmentation …" not in texts
    choice = action(button.choices, "NRRD (3D Slicer) …")
    text = save(qtbot, monkeypatch, review_tab, choice, tmp_path / "mine")
    assert text == "Saved as mine.seg.nrrd."
    image = sitk.ReadImage(str(tmp_path / "mine.seg.nrrd"))
    assert np.bincount(sitk.GetArrayFromImage(image).ravel()).tolist() == (
        np.bincount(labels.data.ravel()).tolist()
    )
    assert image.GetMetaData("Segment0_Name") == "class 1"
    button.fill()
    choice = action(button.choices, "Report (HTML) …")
    save(qtbot, monkeypatch, review_tab, choice, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "class 1" in page and "For research use only" in page
    button.fill()
    uncertainty = action(button.choices, "Uncertainty as").menu()
    choice = action(uncertainty, "MetaImage …")
    save(qtbot, monkeypatch, review_tab, choice, tmp_path / "sd.mha")
    assert 0 < sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "sd.mha"))).max() <= 0.5
    (tmp_path / "file").write_text("")
    button.fill()
    choice = action(button.choices, "MetaImage …")
    text = save(qtbot, monkeypatch, review_tab, choice, tmp_path / "file" / "labels.mha")
    assert "could not be written" in text


def test_a_dicom_series_opened_in_napari_gets_its_segmentation_from_the_save_dialog(tmp_path):
    import highdicom

    voxels = np.arange(np.prod(cases.SHAPE), dtype=np.int16).reshape(cases.SHAPE)
    write_ct_series(tmp_path, voxels, cases.oblique_affine())
    data, attributes, _ = read_layers(str(tmp_path))[0]
    from napari.layers import Image

    image = Image(data, **attributes)
    layer = Labels(np.asarray(data > 1000).astype(np.uint8), **derived_attributes(image))
    path = tmp_path / "labels.dcm"
    data, attributes, _ = layer.as_layer_data_tuple()
    assert write_result(str(path), data, attributes) == [str(path)]
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    assert volume.array.sum() == np.count_nonzero(voxels > 1000)


def test_labels_on_a_turned_photograph_that_napari_shows_as_it_is_stored(tmp_path):
    from napari.layers import Image
    from napari.layers._source import layer_source

    stored = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9)
    file = tmp_path / "photo.tif"
    tifffile.imwrite(file, stored, extratags=[(274, "H", 1, 6, False)], photometric="minisblack")
    with layer_source(path=str(file)):
        image = Image(stored)
    result = layer_result(Labels(stored // 10), image)
    np.testing.assert_array_equal(result.labels, read_scan(file).array // 10)
    path = tmp_path / "label.tif"
    FORMATS["tiff"].write_labels(path, result)
    np.testing.assert_array_equal(tifffile.imread(path), stored // 10)
