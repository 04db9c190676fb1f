"""NIfTI files as napari layers: which kind of layer, and what comes back when saved."""

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image
from scipy.spatial.transform import Rotation

from napari_ldseg.errors import LDSegError
from napari_ldseg.layers.files import get_reader, read_layers
from napari_ldseg.layers.geometry import (
    RAS_FROM_WORLD,
    derived_attributes,
    grid_of,
    layer_geometry,
    layer_scan,
)
from napari_ldseg.layers.nifti import write_image
from napari_ldseg.scans.scan import Scan

AFFINE = np.diag([-0.8, -0.8, 2.0, 1.0])


def write(path, array):
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("case_seg.nii.gz", np.uint8, "labels"),
        ("labels/case.nii.gz", np.int16, "labels"),
        ("case_mask.nii", np.float32, "image"),
        ("ct.nii.gz", np.int16, "image"),
        ("t1_unmasked.nii.gz", np.uint8, "image"),
        ("brain_masked.nii.gz", np.uint8, "image"),
    ],
)
def test_label_files_open_as_labels_and_scans_as_images(tmp_path, name, dtype, kind):
    array = np.random.default_rng(0).integers(0, 4, (6, 7, 8)).astype(dtype)
    ((data, attributes, found),) = read_layers(write(tmp_path / name, array))
    assert found == kind
    assert data.shape == (8, 7, 6)
    np.testing.assert_allclose(attributes["scale"], (2.0, 0.8, 0.8), rtol=1e-6)


def test_saved_labels_open_as_labels_whatever_their_name(viewer, tmp_path):
    layer = viewer.add_labels(np.random.default_rng(0).integers(0, 3, (5, 6, 7)))
    layer.save(str(tmp_path / "anything.nii.gz"), plugin="napari-ldseg")
    (again,) = viewer.open(tmp_path / "anything.nii.gz", plugin="napari-ldseg")
    assert again._type_string == "labels"
    np.testing.assert_array_equal(again.data, layer.data)


def test_several_files_at_once_and_foreign_files(tmp_path):
    paths = [write(tmp_path / f"{i}.nii", np.ones((4, 5, 6), np.float32) * i) for i in (1, 2)]
    assert get_reader(paths) is read_layers
    assert [float(data.max()) for data, _, _ in read_layers(paths)] == [1.0, 2.0]
    assert get_reader([*paths, "picture.png"]) is None


def test_4d_file_opens_frames_first_and_is_saved_as_it_was(viewer, tmp_path):
    array = np.random.default_rng(0).random((6, 7, 8, 3)).astype(np.float32)
    path = write(tmp_path / "cine.nii.gz", array)
    (layer,) = viewer.open(path, plugin="napari-ldseg")
    assert layer.data.shape == (3, 8, 7, 6)
    layer.save(str(tmp_path / "again.nii.gz"), plugin="napari-ldseg")
    again = nib.load(tmp_path / "again.nii.gz")
    np.testing.assert_array_equal(np.asarray(again.dataobj), array)
    np.testing.assert_array_equal(again.affine, nib.load(path).affine)


def test_loop_of_a_single_slice_has_frames_instead_of_a_third_dimension(viewer, tmp_path):
    array = np.random.default_rng(0).random((6, 7, 1, 5)).astype(np.float32)
    (layer,) = viewer.open(write(tmp_path / "loop.nii.gz", array), plugin="napari-ldseg")
    assert layer.data.shape == (5, 7, 6)
    np.testing.assert_allclose(layer.scale, (1, 0.8, 0.8), rtol=1e-6)
    assert [str(unit) for unit in layer.units] == ["pixel", "millimeter", "millimeter"]
    # Frames they stay where the file's own affine no longer counts: the layer was moved.
    layer.translate = np.add(layer.translate, (0, 4, 0))
    scan = layer_scan(layer)
    assert scan.space == 2 and scan.calibrated
    layer.save(str(tmp_path / "moved.nii.gz"), plugin="napari-ldseg")
    moved = nib.load(tmp_path / "moved.nii.gz")
    assert moved.shape == (6, 7, 1, 5)
    np.testing.assert_allclose(np.linalg.norm(moved.affine[:2, :2], axis=0), 0.8, rtol=1e-6)
    assert read_layers(str(tmp_path / "moved.nii.gz"))[0][0].shape == (5, 7, 6)


def test_labels_saved_from_a_2d_image_are_on_its_grid_again(viewer, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    (image,) = viewer.open(tmp_path / "picture.png")
    labels = viewer.add_labels((pixels > 99).astype(np.uint8), **derived_attributes(image))
    labels.save(str(tmp_path / "labels.nii.gz"), plugin="napari-ldseg")
    viewer.layers.remove(labels)
    (labels,) = viewer.open(tmp_path / "labels.nii.gz", plugin="napari-ldseg")
    assert grid_of(labels) == grid_of(image)
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    viewer.layers.selection.active = labels
    assert correct.corrector.unit == "px" and correct.corrector.images() == [image]


def test_colour_images_are_refused_with_a_sentence(tmp_path):
    colours = np.zeros((8, 9, 3), np.uint8)
    with pytest.raises(LDSegError, match="photo is in colour"):
        write_image(str(tmp_path / "x.nii.gz"), colours, {"name": "photo", "rgb": True})
    assert not list(tmp_path.iterdir())


def test_several_layers_saved_together_are_a_file_each(viewer, tmp_path):
    viewer.add_labels(np.random.default_rng(0).integers(0, 3, (5, 6, 7)), name="labels · scan")
    viewer.add_image(np.random.default_rng(0).random((5, 6, 7)), name="uncertainty")
    viewer.layers.select_all()
    viewer.layers.save(str(tmp_path / "case.nii.gz"), selected=True, plugin="napari-ldseg")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["case labels  scan.nii.gz", "case uncertainty.nii.gz"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("case_seg.nii.gz", np.float64([0, 1, 2, 3])),
        ("patient001_frame01_gt.nii.gz", np.uint8([0, 1, 2, 3])),
        ("sub-01_dseg.nii.gz", np.float32([0, 1, 2, 2.9999])),
        ("aparc+aseg.nii.gz", np.int32([0, 17, 1035, 2035])),
        ("labelsTr/liver_1.nii.gz", np.float32([0, 1, 2, 3])),
    ],
)
def test_labels_of_other_tools_open_as_integer_labels(tmp_path, name, values):
    array = values[np.random.default_rng(0).integers(0, 4, (6, 7, 8))]
    ((data, _, found),) = read_layers(write(tmp_path / name, array))
    assert found == "labels" and data.dtype.kind in "iu"
    assert set(np.unique(data)) == {int(np.rint(v)) for v in values}


def test_a_file_marked_as_labels_opens_as_labels_or_says_why(tmp_path, assert_sentence):
    for values, kind in [(np.float32([0, 1, 2, 3]), "labels"), (np.float32([0, 0.4, 1, 2]), None)]:
        image = nib.Nifti1Image(values[np.arange(120).reshape(4, 5, 6) % 4], AFFINE)
        image.header.set_intent("label")
        nib.save(image, tmp_path / "marked.nii")
        if kind is not None:
            assert read_layers(str(tmp_path / "marked.nii"))[0][2] == kind
            continue
        with pytest.raises(LDSegError) as error:
            read_layers(str(tmp_path / "marked.nii"))
        assert_sentence(error, "marked.nii", "whole numbers")


def test_probabilities_are_images_whatever_their_values(tmp_path):
    array = np.zeros((4, 5, 6), np.uint8)
    ((_, _, found),) = read_layers(write(tmp_path / "sub-01_label-GM_probseg.nii.gz", array))
    assert found == "image"


@pytest.mark.parametrize("oblique", [False, True])
def test_the_slider_reaches_the_last_slice(oblique):
    """Napari counts slices from first, last and step, and would round an inexact count down."""
    random = np.random.default_rng(0)
    for _ in range(60):
        size = tuple(random.integers(15, 60, 3).tolist())
        spacing = random.choice([0.4688, 0.7, 0.859375, 0.9, 1.25, 1e-3, 3.3], 3)
        affine = np.eye(4)
        turned = Rotation.from_euler("xyz", 20 * oblique * random.uniform(-1, 1, 3), degrees=True)
        affine[:3, :3] = RAS_FROM_WORLD[:3, :3] @ turned.as_matrix() * spacing
        affine[:3, 3] = random.uniform(-100, 100, 3).round(4)
        scan = Scan(np.zeros(size, np.uint8), affine, calibrated=True)
        viewer = ViewerModel()
        layer = viewer.add_image(scan.array, **layer_geometry(scan))
        assert viewer.dims.nsteps == size
        np.testing.assert_allclose(layer.scale, spacing, rtol=1e-8)
        np.testing.assert_array_equal(layer_scan(layer).affine, affine)
