"""Letters and positions of the patient, from the true affine of an oblique file."""

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image

from napari_ldseg.layers.anatomy import Anatomy, letters, orientation_known, position_text
from napari_ldseg.layers.files import read_layers


def tilted(tmp_path, degrees, code=1):
    """A volume turned about the patient's long axis, and its affine."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([0.7, 1.1, 2.3])
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    image = nib.Nifti1Image(np.zeros((14, 20, 17), np.int16), affine)
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    nib.save(image, tmp_path / "tilted.nii.gz")
    ((data, attributes, _),) = read_layers(str(tmp_path / "tilted.nii.gz"))
    return Image(data, **attributes), affine


@pytest.mark.parametrize(
    ("degrees", "names"), [(10, "S P L"), (30, "S PR LP"), (60, "S PL LA"), (-30, "S PL LA")]
)
def test_an_axis_has_two_letters_where_it_leans_by_more_than_20_degrees(tmp_path, degrees, names):
    layer, affine = tilted(tmp_path, degrees)
    anatomy = Anatomy(layer)
    assert [letters(anatomy.direction(axis)) for axis in range(3)] == names.split()
    # The position of a voxel is that of the file's affine, whatever axis it is shown on.
    for voxel in np.random.default_rng(0).integers(0, 14, (5, 3)):
        there = np.linalg.inv(layer_affine(layer)) @ affine @ [*voxel, 1]
        world = layer.data_to_world(there[:3])
        np.testing.assert_allclose(anatomy.position(world), (affine @ [*voxel, 1])[:3], atol=1e-6)


def layer_affine(layer):
    return layer.metadata["affine"]


def test_no_letters_without_a_known_orientation(tmp_path):
    assert orientation_known(tilted(tmp_path, 10)[0])
    with pytest.warns(UserWarning, match="orientation"):
        assert not orientation_known(tilted(tmp_path, 0, code=0)[0])
    assert not orientation_known(Image(np.zeros((4, 5, 6)), units="mm"))
    flat = nib.Nifti1Image(np.zeros((8, 9), np.uint8), np.eye(4))
    nib.save(flat, tmp_path / "flat.nii.gz")
    ((data, attributes, _),) = read_layers(str(tmp_path / "flat.nii.gz"))
    assert not orientation_known(Image(data, **attributes))


def test_a_position_is_written_with_the_side_that_it_is_on():
    assert position_text(np.array([12.34, -4.0, 33.06])) == "R 12.3  P 4.0  S 33.1 mm"
    assert position_text(np.array([-0.04, 0, -9.96])) == "R 0.0  A 0.0  I 10.0 mm"
