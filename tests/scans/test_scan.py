"""Scans read from real NIfTI files, and results written back onto them."""

import gzip
import itertools
import os
import types

import nibabel as nib
import numpy as np
import pytest
import tifffile
from nibabel.orientations import aff2axcodes
from PIL import Image
from scipy.spatial.transform import Rotation

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans import memory
from napari_ldseg.scans.files import SUFFIXES, read_scan, stem_of, suffix_of, write_like
from napari_ldseg.scans.scan import Scan, default_affine

SPACING = np.diag([0.7, 1.1, 2.5])
STRAIGHT = np.eye(3)
TILT = Rotation.from_euler("xyz", [12, -8, 15], degrees=True).as_matrix()
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def affine_of(order=(0, 1, 2), signs=(1, 1, 1), tilt=STRAIGHT, offset=(-31.0, 17.5, 102.25)):
    """A 4x4 affine whose file axis i runs along world axis ``order[i]``, then tilted."""
    axes = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        axes[world, axis] = sign
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = tilt @ axes @ SPACING, offset
    return affine


def volume(shape, dtype=np.int16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.permutation(int(np.prod(shape))).reshape(shape).astype(dtype)


def write(path, data, affine, **header):
    image = nib.Nifti1Image(data, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def assert_same_world(scan, path):
    """Random voxels of ``scan`` have the value that the file has at the same place in mm."""
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    to_file = np.linalg.inv(image.affine)
    rng = np.random.default_rng(0)
    for index in rng.integers(0, scan.array.shape[-3:], (20, 3)):
        world = scan.affine @ [*index, 1]
        place = to_file @ world
        nearest = np.round(place[:3]).astype(int)
        np.testing.assert_allclose(place[:3], nearest, atol=1e-4)
        np.testing.assert_array_equal(
            scan.array[(..., *index)], np.asarray(values[tuple(nearest)]).T, err_msg=str(index)
        )


def assert_like(path, source, array, scan):
    """``path``, written from ``array``, has exactly the geometry of ``source``."""
    new, old = nib.load(path), nib.load(source)
    assert new.shape == old.shape
    assert np.array_equal(new.affine, old.affine)
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
                  "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
                  "xyzt_units", "dim"):  # fmt: skip
        np.testing.assert_array_equal(new.header[field], old.header[field], err_msg=field)
    np.testing.assert_array_equal(read_scan(path).array, array)
    np.testing.assert_allclose(read_scan(path).affine, scan.affine)


@pytest.mark.parametrize("tilt", [STRAIGHT, TILT], ids=["straight", "oblique"])
def test_every_orientation(tmp_path, tilt):
    for number, (order, signs) in enumerate(ORIENTATIONS):
        affine = affine_of(order, signs, tilt)
        source = write(tmp_path / f"{number}.nii", volume((4, 5, 6)), affine)
        scan = read_scan(source)
        assert aff2axcodes(scan.affine) == ("S", "P", "L")
        assert sorted(scan.shape) == [4, 5, 6] and scan.calibrated and not scan.channels
        world_of_axis = [order.index(2), order.index(1), order.index(0)]
        assert scan.shape == tuple((4, 5, 6)[axis] for axis in world_of_axis)
        expected = np.diag(SPACING)[world_of_axis]
        np.testing.assert_allclose(scan.spacing, expected, rtol=1e-5)
        assert_same_world(scan, source)
        labels = (scan.array % 3).astype(np.uint8)
        written = write_like(tmp_path / f"{number} labels.nii", labels, scan)
        assert_like(written, source, labels, scan)
        np.testing.assert_array_equal(nib.load(written).dataobj, volume((4, 5, 6)) % 3)


@pytest.mark.parametrize("qform, sform", [(1, 0), (0, 1), (1, 4), (2, 3), (0, 0)])
def test_form_codes_and_both_matrices_survive(tmp_path, qform, sform):
    image = nib.Nifti1Image(volume((4, 5, 6)), affine_of())
    image.header.set_qform(affine_of(offset=(5, 6, 7)), qform)
    image.header.set_sform(affine_of(tilt=TILT), sform)
    source = tmp_path / "forms.nii.gz"
    nib.Nifti1Image(volume((4, 5, 6)), None, image.header).to_filename(source)
    assert int(nib.load(source).header["qform_code"]) == qform
    scan = read_scan(source)
    assert_same_world(scan, source)
    labels = (scan.array > 60).astype(np.uint8)
    assert_like(write_like(tmp_path / "out.nii.gz", labels, scan), source, labels, scan)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f4", "<u1", "<u2", ">f8", "<i4"])
def test_types_byte_orders_and_compression(tmp_path, dtype, suffix):
    data = volume((4, 5, 6)).astype(dtype)
    header = nib.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(np.dtype(dtype))
    source = tmp_path / f"scan{suffix}"
    nib.Nifti1Image(data, affine_of((1, 0, 2), (1, -1, 1)), header).to_filename(source)
    assert nib.load(source).header.endianness == dtype[0]
    scan = read_scan(source)
    assert scan.array.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=")
    assert_same_world(scan, source)
    written = write_like(tmp_path / f"out{suffix}", np.asarray(scan.array) * 0.5, scan)
    assert_like(written, source, scan.array * 0.5, scan)


def test_scaled_integers(tmp_path):
    image = nib.Nifti1Image(volume((4, 5, 6)), affine_of((2, 0, 1)))
    source = tmp_path / "ct.nii.gz"
    image.header.set_slope_inter(0.5, -1024)
    image.to_filename(source)
    scan = read_scan(source)
    assert nib.load(source).dataobj.slope == 0.5
    assert scan.array.dtype.kind == "f" and scan.array.min() < -900
    assert_same_world(scan, source)
    labels = (scan.array > -1000).astype(np.uint8)
    written = write_like(tmp_path / "labels.nii.gz", labels, scan)
    assert_like(written, source, labels, scan)
    assert nib.load(written).get_data_dtype() == np.uint8
    assert nib.load(written).dataobj.slope == 1


@pytest.mark.parametrize(
    "shape, display_shape",
    [
        ((5, 6), (6, 5)),
        ((5, 6, 1), (6, 5)),
        ((1, 5, 6), (6, 5)),
        ((5, 1, 6), (6, 5)),
        ((4, 5, 6, 3), (3, 6, 5, 4)),
        ((4, 5, 6, 1), (6, 5, 4)),
        ((5, 6, 1, 3), (3, 6, 5)),
        ((1, 5, 6, 3), (3, 6, 5)),
        ((4, 5, 6, 1, 3), (3, 6, 5, 4)),
        ((4, 5, 6, 2, 3), (3, 2, 6, 5, 4)),
    ],
)
def test_slices_and_frames(tmp_path, shape, display_shape):
    """Axes run right, anterior, superior in the file; a single slice loses its axis."""
    data = volume(shape)
    source = write(tmp_path / "scan.nii", data, affine_of())
    scan = read_scan(source)
    assert scan.shape == display_shape
    assert len(display_shape) - scan.space == sum(n > 1 for n in shape[3:])
    frames = data.ndim > 3 and data.shape[3:]
    for frame in itertools.product(*map(range, frames)) if frames else [()]:
        cut = np.squeeze(data[(..., *frame)] if frame else data)
        place = tuple(f for f, n in zip(frame, frames or (), strict=True) if n > 1)[::-1]
        array = np.asarray(scan.array[place])
        # Towards superior, posterior, left: the transposed array with its y and x axes reversed.
        kept = [axis for axis in range(3) if axis >= data.ndim or data.shape[axis] > 1]
        kept = [axis for axis in kept if axis < data.ndim]
        flipped = np.flip(cut, [i for i, axis in enumerate(kept) if axis < 2])
        np.testing.assert_array_equal(array, flipped.T)
    labels = (scan.array % 5).astype(np.uint8)
    written = write_like(tmp_path / "labels.nii", labels, scan)
    assert_like(written, source, labels, scan)
    np.testing.assert_array_equal(nib.load(written).dataobj, data % 5)


@pytest.mark.parametrize("shape", [(1, 5, 6), (5, 1, 6), (5, 6, 1)])
def test_affine_of_a_single_slice(tmp_path, shape):
    data = volume(shape)
    source = write(tmp_path / "slice.nii", data, affine_of(tilt=TILT))
    scan = read_scan(source)
    flat = shape.index(1)
    assert scan.spacing[0] == pytest.approx(np.diag(SPACING)[flat], rel=1e-5)
    to_file = np.linalg.inv(nib.load(source).affine)
    for y, x in np.ndindex(scan.shape):
        place = (to_file @ scan.affine @ [0, y, x, 1])[:3]
        assert data[tuple(np.round(place).astype(int))] == scan.array[y, x]


def test_colour(tmp_path):
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    data = np.empty((5, 6, 4), dtype)
    for seed, name in enumerate("RGB"):
        data[name] = volume((5, 6, 4), np.uint8, seed)
    source = tmp_path / "colour.nii.gz"
    nib.Nifti1Image(data, affine_of()).to_filename(source)
    scan = read_scan(source)
    assert scan.channels and scan.channel_count == 3 and scan.shape == (4, 6, 5)
    for channel, name in enumerate("RGB"):
        expected = data[name][::-1, ::-1].T
        np.testing.assert_array_equal(scan.array[..., channel], expected)
    labels = (scan.array[..., 0] > 60).astype(np.uint8)
    assert_like(write_like(tmp_path / "out.nii.gz", labels, scan), source, labels, scan)


@pytest.mark.parametrize(
    "unit, factor", [("mm", 1), ("meter", 1000), ("micron", 0.001), ("unknown", 1)]
)
def test_units(tmp_path, unit, factor):
    image = nib.Nifti1Image(volume((4, 5, 6)), affine_of())
    image.header.set_xyzt_units(unit)
    source = tmp_path / "units.nii"
    image.to_filename(source)
    scan = read_scan(source)
    expected = np.array([2.5, 1.1, 0.7]) * factor
    np.testing.assert_allclose(scan.spacing, expected, rtol=1e-5)
    far = scan.affine @ [0, 4, 3, 1]
    np.testing.assert_allclose(far[:3], np.array([-31, 17.5, 102.25]) * factor, rtol=1e-5)
    assert_like(write_like(tmp_path / "out.nii", scan.array, scan), source, scan.array, scan)


@pytest.mark.parametrize(
    "unit, side", [("meter", 5e-5), ("micron", 50), ("mm", 0.05), ("mm", 1e-5)]
)
def test_voxels_may_be_small_in_any_unit(tmp_path, unit, side):
    image = nib.Nifti1Image(volume((4, 5, 6)), np.diag([side, side, side, 1]))
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "small.nii")
    factor = {"meter": 1000, "micron": 0.001, "mm": 1}[unit]
    np.testing.assert_allclose(read_scan(tmp_path / "small.nii").spacing, side * factor, rtol=1e-5)


@pytest.mark.parametrize(
    "field, value",
    [
        ("pixdim", [1, np.nan, 1, 1, 1, 1, 1, 1]),
        ("srow_x", [np.nan, 0, 0, 0]),
        ("srow_y", [1000, 0, 0, 0]),
        ("quatern_b", np.nan),
        ("quatern_b", 5),
        ("qoffset_x", np.inf),
        ("dim", [3, -4, 5, 6, 1, 1, 1, 1]),
        ("dim", [9, 4, 5, 6, 1, 1, 1, 1]),
        ("scl_inter", np.nan),
        ("vox_offset", np.inf),
        ("datatype", 3),
    ],
)
def test_invalid_headers_of_other_programs(tmp_path, field, value, assert_sentence):
    source = write(tmp_path / "scan.nii", volume((4, 5, 6)), np.eye(4), scl_slope=1)
    raw = source.read_bytes()
    header = np.frombuffer(raw[:348], nib.Nifti1Header.template_dtype).copy()
    header["scl_slope"], header[field] = 1, value
    if not field.startswith("srow"):
        header["sform_code"], header["qform_code"] = 0, 1
    source.write_bytes(header.tobytes() + raw[348:])
    with pytest.raises(LDSegError) as error:
        read_scan(source)
    assert_sentence(error, "scan.nii")


def test_cifti_is_no_image(tmp_path, assert_sentence):
    grid = nib.cifti2.BrainModelAxis.from_mask(
        np.ones((2, 3, 3), bool), affine=np.eye(4), name="thalamus_left"
    )
    maps = nib.cifti2.ScalarAxis(["thickness"])
    image = nib.Cifti2Image(np.zeros((1, 18), np.float32), (maps, grid))
    nib.save(image, tmp_path / "brain.dscalar.nii")
    with pytest.raises(LDSegError) as error:
        read_scan(tmp_path / "brain.dscalar.nii")
    assert_sentence(error, "brain.dscalar.nii", "Cifti2Image, not")


def test_files_of_other_programs_with_an_unknown_unit(tmp_path):
    """An unknown unit code counts as no unit, which means mm."""
    for code in (4, 5, 7, 255):
        source = write(tmp_path / f"{code}.nii", volume((4, 5, 6)), affine_of(), xyzt_units=code)
        scan = read_scan(source)
        np.testing.assert_allclose(scan.spacing, (2.5, 1.1, 0.7), rtol=1e-5)
        assert scan.calibrated
        assert_like(write_like(tmp_path / "out.nii", scan.array, scan), source, scan.array, scan)


def test_a_result_on_a_2d_image_file_stays_in_pixels(tmp_path):
    Image.fromarray(volume((9, 12), np.uint8)).save(tmp_path / "photo.png")
    scan = read_scan(tmp_path / "photo.png")
    label = read_scan(write_like(tmp_path / "label.nii.gz", scan.array > 50, scan))
    assert label.shape == scan.shape and not label.calibrated
    again = read_scan(write_like(tmp_path / "again.nii.gz", label.array, label))
    np.testing.assert_array_equal(again.array, label.array)
    assert not again.calibrated


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64]
)
def test_what_is_written_reads_back_equal(tmp_path, dtype):
    scan = read_scan(write(tmp_path / "scan.nii.gz", volume((4, 5, 6)), affine_of((1, 2, 0))))
    array = (scan.array % 2 if dtype is bool else scan.array).astype(dtype)
    back = read_scan(write_like(tmp_path / "out.nii.gz", array, scan)).array
    np.testing.assert_array_equal(back, array.astype(np.uint8) if dtype is bool else array)


@pytest.mark.parametrize("values", [(-3, 300), (0, 2**20), (-(2**40), 2**40)])
def test_large_integers_lose_nothing(tmp_path, values):
    scan = read_scan(write(tmp_path / "scan.nii.gz", volume((4, 5, 6)), affine_of()))
    array = np.where(scan.array % 2, *values).astype(np.int64)
    np.testing.assert_array_equal(
        read_scan(write_like(tmp_path / "o.nii", array, scan)).array, array
    )


def test_written_without_a_source_file(tmp_path):
    affine = default_affine((2.0, 1.5, 1.0)) @ np.array(
        [[1, 0, 0, 3], [0, 1, 0, 5], [0, 0, 1, 7], [0, 0, 0, 1.0]]
    )
    for shape in [(3, 4, 5), (2, 3, 4, 5), (4, 5)]:
        scan = Scan(volume(shape), affine)
        path = write_like(tmp_path / "out.nii.gz", scan.array, scan)
        back = read_scan(path)
        np.testing.assert_array_equal(back.array, scan.array)
        np.testing.assert_allclose(back.affine, affine, rtol=1e-6)
    assert nib.load(path).affine[2, 2] == pytest.approx(2)


def test_result_of_another_shape_is_refused(tmp_path, assert_sentence):
    scan = read_scan(write(tmp_path / "scan.nii.gz", volume((4, 5, 6)), affine_of()))
    with pytest.raises(LDSegError) as error:
        write_like(tmp_path / "out.nii.gz", np.zeros((4, 5, 6)), scan)
    assert_sentence(error, "scan.nii.gz", "(4, 5, 6)")
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize("array", [np.zeros((2, 40_000), np.uint8), np.full((2, 3), "text")])
def test_what_nifti_cannot_hold(tmp_path, array, assert_sentence):
    with pytest.raises(LDSegError) as error:
        write_like(tmp_path / "out.nii.gz", array, Scan(array))
    assert_sentence(error, "out.nii.gz", "NIfTI")
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_nothing(tmp_path, monkeypatch, assert_sentence):
    scan = Scan(volume((3, 4, 5)))
    (tmp_path / "taken").write_text("x")
    with pytest.raises(LDSegError) as error:
        write_like(tmp_path / "taken" / "out.nii.gz", scan.array, scan)
    assert_sentence(error, "out.nii.gz")
    target = tmp_path / "folder" / "out.nii.gz"
    write_like(target, scan.array, scan)
    before = target.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LDSegError) as error:
        write_like(target, scan.array + 1, scan)
    assert_sentence(error, "out.nii.gz", "No space left")
    assert list(target.parent.iterdir()) == [target] and target.read_bytes() == before


def test_broken_files(tmp_path, assert_sentence):
    good = write(tmp_path / "good.nii.gz", volume((4, 5, 6)), affine_of())
    raw = gzip.decompress(good.read_bytes())
    for name, content in {
        "cut.nii.gz": good.read_bytes()[:-60],
        "cut.nii": raw[:-60],
        "header only.nii": raw[:348],
        "no header.nii": raw[:100],
        "empty.nii": b"",
        "empty.nii.gz": b"",
        "text.nii": b"hello " * 100,
        "not gzip.nii.gz": raw,
        "text.nii.gz": b"hello " * 100,
        "gzipped text.nii.gz": gzip.compress(b"hello " * 100),
        "text.png": b"hello",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LDSegError) as error:
            read_scan(tmp_path / name)
        assert_sentence(error, name)
    for name in ("gone.nii.gz", "gone.nii", "gone.png"):
        with pytest.raises(LDSegError) as error:
            read_scan(tmp_path / name)
        assert_sentence(error, name)


def test_singular_affine(tmp_path, assert_sentence):
    image = nib.Nifti1Image(volume((4, 5, 6)), affine_of())
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    image.header["srow_z"] = 0
    source = tmp_path / "flat.nii"
    nib.Nifti1Image(volume((4, 5, 6)), None, image.header).to_filename(source)
    with pytest.raises(LDSegError) as error:
        read_scan(source)
    assert_sentence(error, "flat.nii", "affine")
    for affine in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)):
        with pytest.raises(LDSegError) as error:
            Scan(np.zeros((3, 3)), affine, name="drawn")
        assert_sentence(error, "drawn", "affine")


def test_complex_values_and_impossible_sizes(tmp_path, assert_sentence):
    source = write(tmp_path / "complex.nii", volume((4, 5, 6), np.complex64), affine_of())
    with pytest.raises(LDSegError) as error:
        read_scan(source)
    assert_sentence(error, "complex.nii", "complex64")
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header["dim"] = [3, 32000, 32000, 32000, 1, 1, 1, 1]
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + b"\0" * 100)
    with pytest.raises(LDSegError) as error:
        read_scan(tmp_path / "huge.nii")
    assert_sentence(error, "huge.nii", "voxels")


def test_too_much_for_the_memory_is_refused_before_it_is_read(
    tmp_path, monkeypatch, assert_sentence
):
    """Every file is small, but its header describes a huge image."""
    free = types.SimpleNamespace(available=8 * 2**30)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1200, 1200, 1200))
    header.set_slope_inter(0.5, 0)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "scaled.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    tifffile.imwrite(tmp_path / "slide.tif", volume((9, 12), np.uint8), metadata=None)
    with tifffile.TiffFile(tmp_path / "slide.tif", mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[tag].overwrite(61440)
    Image.new("1", (20_000, 10_000)).save(tmp_path / "photo.png")
    for name, word in [("scaled.nii.gz", "GiB"), ("slide.tif", "2^31"), ("photo.png", "pixels")]:
        with pytest.raises(LDSegError) as error:
            read_scan(tmp_path / name)
        assert_sentence(error, name, word, "crop")


@pytest.mark.parametrize(
    "shape, channels",
    [((9, 12), False), ((9, 12, 2), False), ((9, 12, 3), True), ((9, 12, 4), True)],
)
def test_2d_image_files(tmp_path, shape, channels):
    """Grey, grey with transparency, RGB, RGB with transparency."""
    pixels = volume(shape, np.uint8)
    expected = pixels[..., :3] if channels else pixels.reshape(9, 12, -1)[..., 0]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(pixels).save(tmp_path / "photo.tif")
    for name in ("photo.png", "photo.tif"):
        scan = read_scan(tmp_path / name)
        assert scan.channels is channels and scan.shape == (9, 12) and not scan.calibrated
        np.testing.assert_array_equal(scan.array, expected)


def test_the_axes_of_a_tiff_are_read_from_the_file(tmp_path):
    stack = volume((3, 9, 12), np.uint8)
    for name, expected, options in [
        ("colours", np.moveaxis(stack, 0, -1), {"photometric": "rgb", "planarconfig": "separate"}),
        ("slices", stack, {"photometric": "minisblack"}),
        ("stains", np.moveaxis(stack, 0, -1), {"imagej": True, "metadata": {"axes": "CYX"}}),
    ]:
        tifffile.imwrite(tmp_path / f"{name}.tif", stack, **options)
        scan = read_scan(tmp_path / f"{name}.tif")
        assert scan.channels is (name != "slices")
        np.testing.assert_array_equal(scan.array, expected)


@pytest.mark.parametrize("name", ["print.jpg", "print.tif"])
def test_cmyk_is_not_read_as_rgb(tmp_path, name, assert_sentence):
    red = np.full((9, 12, 3), (200, 30, 60), np.uint8)
    Image.fromarray(red).convert("CMYK").save(tmp_path / name)
    with pytest.raises(LDSegError) as error:
        read_scan(tmp_path / name)
    assert_sentence(error, name, "CMYK", "RGB")


def test_suffixes_and_stems_of_names(tmp_path):
    for name, suffix, stem in [
        ("scan.nii.gz", ".nii.gz", "scan"),
        ("SCAN.NII", ".nii", "SCAN"),
        ("slide.2.TIFF", ".tiff", "slide.2"),
        ("notes.txt", "", "notes.txt"),
        ("nii", "", "nii"),
    ]:
        assert (suffix_of(tmp_path / name), stem_of(tmp_path / name)) == (suffix, stem)
    assert len(SUFFIXES) == len(set(SUFFIXES)) and all(s.startswith(".") for s in SUFFIXES)


def test_a_sheared_voxel_is_as_large_as_it_is(tmp_path):
    """A scan of a tilted gantry: the volume of a ball, and the area of a slice's pixel."""
    affine = affine_of(tilt=TILT)
    affine[:3, 2] = affine[:3, :3] @ (0, 1.5, 1)  # each slice is shifted along y
    shape, radius = (120, 110, 30), 20
    world = np.einsum("ij,j...->i...", affine[:3, :3], np.indices(shape).astype(float))
    centre = affine[:3, :3] @ (np.array(shape) / 2)
    ball = ((world - centre.reshape(3, 1, 1, 1)) ** 2).sum(0) < radius**2
    nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), tmp_path / "ball.nii.gz")
    scan = read_scan(tmp_path / "ball.nii.gz")
    assert scan.array.sum() * scan.voxel_size == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    nib.save(nib.Nifti1Image(ball[:, :, 15].astype(np.uint8), affine), tmp_path / "slice.nii.gz")
    assert read_scan(tmp_path / "slice.nii.gz").voxel_size == pytest.approx(0.7 * 1.1)
