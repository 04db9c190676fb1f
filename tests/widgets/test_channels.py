"""Models of several channels in the window: a layer per channel, or all in one, and their cases."""

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtWidgets import QLabel

from napari_ldseg.checkpoint.file import load_checkpoint
from napari_ldseg.inference.segment import segment
from napari_ldseg.layers.channels import assign_channels
from napari_ldseg.project.labelled_cases import labelled_case
from napari_ldseg.scans.channels import read_channels
from napari_ldseg.widgets.project.state import project_of

from .conftest import (
    only_case,
    other_value,
    paint_at,
    remove_all,
    result_layer,
    settle,
)


@pytest.fixture
def pair(oblique_file, tmp_path):
    """Two channels of an oblique volume as nnU-Net names them; returns their files and the affine."""
    path, array, affine = oblique_file
    files = [tmp_path / "images" / f"case_{i:04d}.nii.gz" for i in range(2)]
    files[0].parent.mkdir()
    like = nib.load(path)
    for file, values in zip(
        files, (array, 999 - array.swapaxes(0, 1).reshape(array.shape)), strict=True
    ):
        image = nib.Nifti1Image(values, affine, like.header)
        nib.save(image, file)
    return files, affine


@pytest.fixture
def model(model_file):
    """A tiny 3D model of two channels."""
    return model_file(3, classes=3, channels=2, file_name="two.safetensors", name="two")


@pytest.fixture
def expected(model, pair):
    """What Python gives for the pair."""
    scan = read_channels(pair[0])
    return segment(load_checkpoint(model), scan, 2, device="cpu").labels


def shown_rows(widget):
    """Return the visible names of the channel rows."""
    labels = widget.channels.findChildren(QLabel)
    return [label.text() for label in labels if label.isVisible()]


def open_pair(viewer, pair):
    return [viewer.open(file, plugin="napari-ldseg")[0] for file in pair[0]]


def test_a_layer_per_channel_is_found_segmented_and_kept_in_the_project(
    qtbot, viewer, widget, run, pair, model, expected, folder, panel
):
    layers = open_pair(viewer, pair)
    widget.model.choose(model)
    assert shown_rows(widget) == ["channel 0", "channel 1"] and not widget.image.native.isVisible()
    assert widget.channels.chosen == tuple(layers)
    assert run(samples=2) == "Done: 2 samples."
    labels = result_layer(viewer, "labels")
    assert labels.name == "labels · case"
    np.testing.assert_array_equal(labels.data, expected)
    np.testing.assert_allclose(labels.metadata["affine"], layers[0].metadata["affine"])

    index = (7, 9, 8)
    paint_at(viewer, labels, index, other_value(labels, index))
    settle(viewer)
    project, case = project_of(viewer).project, only_case(folder)
    assert case.name == "case"
    found = labelled_case(project, case, [f"class {i}" for i in range(3)])
    scan = found.read_scan()
    np.testing.assert_array_equal(scan.array, read_channels(pair[0]).array)
    np.testing.assert_array_equal(found.read_label(), labels.data)
    stored = nib.load(case.folder / "image.nii")
    assert stored.shape == (14, 20, 17, 2)
    np.testing.assert_allclose(stored.affine, pair[1])

    corrected = labels.data.copy()
    remove_all(qtbot, viewer)
    qtbot.waitUntil(lambda: not project_of(viewer).labels.finishing, timeout=20_000)
    project_of(viewer).open_case("case")
    qtbot.waitUntil(lambda: len(viewer.layers) >= 3 and not project_of(viewer).busy, timeout=20_000)
    assert [row.value.name for row in widget.channels.rows] == ["case_0000", "case_0001"]
    np.testing.assert_array_equal(result_layer(viewer, "labels").data, corrected)
    assert "kept" in run(samples=2)
    np.testing.assert_array_equal(result_layer(viewer, "labels").data, expected)


def test_a_4d_layer_is_split(viewer, widget, run, pair, model, expected, tmp_path):
    images = [nib.load(file) for file in pair[0]]
    data = np.stack([np.asarray(image.dataobj) for image in images], axis=-1)
    path = tmp_path / "both.nii.gz"
    nib.save(nib.Nifti1Image(data, images[0].affine, images[0].header), path)
    (layer,) = viewer.open(path, plugin="napari-ldseg")
    widget.model.choose(model)
    assert not shown_rows(widget) and widget.image.native.isVisible()
    assert not widget.this_slice.isVisible()
    assert run(samples=2).startswith("Done")
    np.testing.assert_array_equal(result_layer(viewer, "labels").data, expected)
    assert not layer.visible
    assert [chosen.name for chosen in widget.channels.chosen] == [
        "both_0000",
        "both_0001",
    ]
    np.testing.assert_allclose(
        result_layer(viewer, "labels").metadata["affine"], read_channels([path]).affine
    )


def test_rows_only_for_such_a_model_and_a_sentence_for_every_mistake(
    viewer, widget, run, pair, model, model_file, tmp_path, assert_sentence
):
    one, two = open_pair(viewer, pair)
    widget.model.choose(model_file(3))
    assert not shown_rows(widget) and widget.image.native.isVisible()
    widget.model.choose(model)
    first, second = widget.channels.rows
    second.value = one
    assert_sentence(run(), "case_0000 is chosen for both channel 0 and channel 1")
    second.value = None
    assert_sentence(run(), "channel 1")
    second.value = two
    two.translate = (3, 0, 0)
    assert_sentence(run(), "case_0001", "case_0000", "places")
    second.value = viewer.add_image(np.zeros((4, 5, 6)), name="small")
    first.value = one
    assert_sentence(run(), "small", "4 x 5 x 6")
    assert widget.image.value is one
    assert not [layer for layer in viewer.layers if layer.name.startswith("labels")]


def test_a_layer_on_another_grid_is_not_taken_for_a_channel(viewer, widget, model):
    rng = np.random.default_rng(0)
    widget.model.choose(model)
    viewer.add_image(rng.random((4, 4, 4)), name="x_0001")
    image = viewer.add_image(rng.random((8, 8, 8)), name="x_0000")
    assert widget.channels.chosen == (image, None)


def test_rows_follow_the_image_and_keep_what_the_user_chose(viewer, widget, model):
    rng = np.random.default_rng(0)
    widget.model.choose(model)
    a = viewer.add_image(rng.random((5, 6, 7)), name="a")
    b = viewer.add_image(rng.random((5, 6, 7)), name="b")
    first, second = widget.channels.rows
    assert widget.channels.chosen == (None, None)
    first.value = b
    assert widget.image.value is b
    c = viewer.add_image(rng.random((8, 8, 8)), name="x_0000")
    d = viewer.add_image(rng.random((8, 8, 8)), name="x_0001")
    assert widget.channels.chosen == (c, d)
    viewer.layers.remove(c)
    assert widget.channels.chosen == (None, d)
    first.value = a
    second.value = b
    a.name = "renamed"
    assert widget.channels.chosen == (a, b)


def test_a_colour_image_and_a_model_of_three_channels_as_ever(viewer, widget, run, model_file):
    photo = np.random.default_rng(0).integers(0, 255, (20, 24, 3)).astype(np.uint8)
    viewer.add_image(photo, name="photo", rgb=True)
    widget.model.choose(model_file(2, channels=3))
    assert not shown_rows(widget) and widget.image.native.isVisible()
    assert run(samples=2).startswith("Done")
    assert result_layer(viewer, "labels").data.shape == (20, 24)


@pytest.mark.parametrize(
    "channels, layers, first, found",
    [
        (["T1", "T2"], ["t2", "t1"], "t1", [1, 0]),
        (["T1", "T1ce"], ["p_t1ce", "p_t1"], "p_t1", [1, 0]),
        (["T1", "T2"], ["p_t1ce", "p_t1", "p_t2"], "p_t1ce", [1, 2]),
        (["T1", "T2"], ["p_t1ce", "p_t2"], "p_t2", [0, 1]),
        (["T1", "FLAIR"], ["a_0001", "b_0000", "b_0001", "a_0000"], "a_0001", [3, 0]),
        (["T1", "FLAIR"], ["a_0001", "b_0000"], "a_0001", [None, 0]),
        (["T1", "T2"], ["other", "t1"], "other", [1, None]),
    ],
)
def test_names_stand_for_channels(channels, layers, first, found):
    assert assign_channels(channels, layers, first) == found
