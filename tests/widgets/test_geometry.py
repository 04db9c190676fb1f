"""Every result lies exactly on its image: in memory, in the window and in the saved file."""

import nibabel as nib
import numpy as np
import pytest

from napari_ldseg.layers.geometry import layer_scan

from .conftest import paint_at, result_layer


def turned(angle, ndim):
    matrix = np.eye(ndim)
    c, s = np.cos(angle), np.sin(angle)
    matrix[-2:, -2:] = [[c, -s], [s, c]]
    return matrix


def assert_on(layer, image):
    rng = np.random.default_rng(0)
    for index in rng.uniform(0, 20, (20, image.ndim)):
        np.testing.assert_allclose(
            layer.data_to_world(index), image.data_to_world(index), atol=1e-6
        )
    assert layer.units == image.units


@pytest.mark.parametrize("ndim", [2, 3])
def test_results_lie_on_a_rotated_sheared_anisotropic_layer(viewer, widget, run, model_file, ndim):
    shape = (12, 16, 20)[-ndim:]
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim] = turned(0.2, ndim) @ np.diag([1.1, 0.9, 1.3][-ndim:])
    affine[:ndim, ndim] = (5, -6, 7)[-ndim:]
    image = viewer.add_image(
        np.random.default_rng(0).integers(0, 99, shape).astype(np.uint8),
        scale=(3.0, 0.5, 0.7)[-ndim:],
        translate=(10, -20, 30)[-ndim:],
        rotate=turned(0.4, ndim),
        shear=[0.1] * (ndim * (ndim - 1) // 2),
        affine=affine,
        units="mm",
    )
    widget.model.choose(model_file(ndim))
    assert run(samples=3).startswith("Done")
    for word in ("labels", "uncertainty", "sample SD"):
        assert_on(result_layer(viewer, word), image)


def test_oblique_file_shows_straight_and_keeps_its_true_affine(viewer, oblique_file):
    path, array, affine = oblique_file
    (layer,) = viewer.open(path, plugin="napari-ldseg")
    np.testing.assert_array_equal(layer.rotate, np.eye(3))
    np.testing.assert_allclose(sorted(layer.scale), [0.7, 1.1, 2.3], rtol=1e-5)
    scan = layer_scan(layer)
    rng = np.random.default_rng(1)
    for index in rng.integers(0, layer.data.shape, (30, 3)):
        world = scan.affine @ [*index, 1]
        there = np.rint(np.linalg.inv(affine) @ world)[:3].astype(int)
        assert layer.data[tuple(index)] == array[tuple(there)]
    # The centre of the volume is where it truly is; napari's axes are superior, posterior, left.
    centre = (np.array(layer.data.shape) - 1) / 2
    x, y, z = (scan.affine @ [*centre, 1])[:3]
    np.testing.assert_allclose(layer.data_to_world(centre), (z, -y, -x), atol=1e-6)


def test_labels_saved_from_an_oblique_file_have_its_affine_and_its_voxels(
    viewer, widget, run, model_file, oblique_file, tmp_path
):
    path, array, affine = oblique_file
    viewer.open(path, plugin="napari-ldseg")
    widget.model.choose(model_file(3, classes=3))
    run(samples=3)
    labels, sd = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    for layer, name in ((labels, "labels.nii.gz"), (sd, "sd.nii")):
        layer.save(str(tmp_path / name), plugin="napari-ldseg")
        saved, source = nib.load(tmp_path / name), nib.load(path)
        assert saved.shape == array.shape
        np.testing.assert_array_equal(saved.affine, affine)
        for part in ("get_sform", "get_qform"):
            ours, theirs = getattr(saved, part)(coded=True), getattr(source, part)(coded=True)
            np.testing.assert_array_equal(ours[0], theirs[0])
            assert ours[1] == theirs[1]
    (again,) = viewer.open(tmp_path / "labels.nii.gz", plugin="napari-ldseg")
    np.testing.assert_array_equal(again.data, labels.data)
    assert again._type_string == "labels"
    np.testing.assert_allclose(again.translate, labels.translate)
    np.testing.assert_allclose(again.scale, labels.scale)


def test_brush_on_a_drawn_pixel_changes_that_voxel_of_the_shown_slice(
    qtbot, viewer, widget, run, model_file, oblique_file
):
    path, _, _affine = oblique_file
    (_image,) = viewer.open(path, plugin="napari-ldseg")
    widget.model.choose(model_file(3, classes=3))
    run(samples=2)
    labels = result_layer(viewer, "labels")
    for index in [(3, 5, 8), (9, 12, 4)]:
        before = labels.data.copy()
        value = (int(before[index]) + 1) % 3
        paint_at(viewer, labels, index, value)
        changed = np.argwhere(labels.data != before)
        assert changed.tolist() == [list(index)]
        assert labels.data[index] == value


def test_saving_a_layer_that_came_from_nowhere_keeps_its_place(viewer, tmp_path):
    layer = viewer.add_labels(
        np.random.default_rng(0).integers(0, 3, (6, 8, 10)),
        scale=(2.0, 0.5, 0.7),
        translate=(10, 20, 30),
        rotate=turned(0.3, 3),
        units="mm",
    )
    layer.save(str(tmp_path / "made.nii.gz"), plugin="napari-ldseg")
    saved = nib.load(tmp_path / "made.nii.gz")
    data = np.asarray(saved.dataobj)
    assert data.shape == (10, 8, 6)
    for z, y, x in np.random.default_rng(1).integers(0, layer.data.shape, (20, 3)):
        assert data[x, y, z] == layer.data[z, y, x]
        s, p, left = layer.data_to_world((z, y, x))
        np.testing.assert_allclose(
            nib.affines.apply_affine(saved.affine, (x, y, z)), (-left, -p, s), atol=1e-4
        )


def test_moved_layer_is_computed_and_saved_where_it_is_now(viewer, oblique_file):
    path, _, _ = oblique_file
    (layer,) = viewer.open(path, plugin="napari-ldseg")
    true = layer_scan(layer).affine
    layer.translate = np.add(layer.translate, (1.0, 0, 0))
    moved = layer_scan(layer)
    assert not np.allclose(moved.affine, true)
    x, y, z = moved.affine[:3, 3]
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (z, -y, -x), atol=1e-6)
