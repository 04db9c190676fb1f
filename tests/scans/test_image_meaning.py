"""What a file says about its own pixels: axes, colours, orientation, voxel size."""

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans.files import read_scan

GREY = np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)
STACK = np.stack([GREY, GREY[::-1], GREY[:, ::-1], GREY // 2, GREY // 3])
COLOURS = np.random.default_rng(1).integers(0, 255, (20, 24, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "array, options",
    [
        (GREY[..., None], {}),
        (GREY[None], {}),
        (GREY[None, None], {}),
        (GREY[None], {"metadata": None}),
    ],
)
def test_axes_of_size_one_are_no_axes(tmp_path, array, options):
    tifffile.imwrite(tmp_path / "one.tif", array, photometric="minisblack", **options)
    scan = read_scan(tmp_path / "one.tif")
    assert scan.space == 2 and not scan.channels
    np.testing.assert_array_equal(scan.array, GREY)


@pytest.mark.parametrize(
    "axes, options, flat",
    [
        ("TYX", {"imagej": True}, True),
        ("ZYX", {"imagej": True}, False),
        ("TYX", {"ome": True}, True),
        ("ZYX", {"ome": True}, False),
    ],
)
def test_time_and_slices_are_what_the_file_says(tmp_path, axes, options, flat):
    tifffile.imwrite(tmp_path / "stack.tif", STACK, metadata={"axes": axes}, **options)
    scan = read_scan(tmp_path / "stack.tif")
    assert scan.shape == STACK.shape and scan.flat is flat and scan.space == (2 if flat else 3)
    np.testing.assert_array_equal(scan.array, STACK)


def test_pages_without_a_meaning_are_slices(tmp_path):
    tifffile.imwrite(tmp_path / "p.tif", STACK, metadata=None, photometric="minisblack")
    assert read_scan(tmp_path / "p.tif").space == 3


def test_time_goes_before_slices_whatever_their_order_in_the_file(tmp_path):
    array = np.stack([STACK, STACK // 2, STACK // 4])
    tifffile.imwrite(tmp_path / "zt.ome.tif", array, ome=True, metadata={"axes": "ZTYX"})
    np.testing.assert_array_equal(
        read_scan(tmp_path / "zt.ome.tif").array, array.transpose(1, 0, 2, 3)
    )


def test_axes_that_cannot_be_read_are_named(tmp_path, assert_sentence):
    both = np.zeros((4, 20, 24, 3), np.uint8)
    tifffile.imwrite(tmp_path / "both.ome.tif", both, ome=True, photometric="rgb")
    with pytest.raises(LDSegError) as error:
        read_scan(tmp_path / "both.ome.tif")
    assert_sentence(error, "both.ome.tif", "CYXS")


@pytest.mark.parametrize("frames, code", [(1, 1007), (2, 1007), (1, 2003), (1, 1006)])
def test_vectors_of_nifti_are_channels(tmp_path, frames, code):
    data = np.random.default_rng(0).integers(0, 255, (6, 7, 4, frames, 3)).astype(np.uint8)
    image = nib.Nifti1Image(data, np.diag([-1, -1, 1, 1]))
    image.header.set_intent(code)
    nib.save(image, tmp_path / "v.nii.gz")
    scan = read_scan(tmp_path / "v.nii.gz")
    assert scan.channels and scan.channel_count == 3
    assert scan.shape == (4, 7, 6) if frames == 1 else scan.shape == (frames, 4, 7, 6)
    np.testing.assert_array_equal(
        np.asarray(scan.array).reshape(frames, 4, 7, 6, 3), data.transpose(3, 2, 1, 0, 4)
    )


def test_one_component_is_grey_and_the_alpha_of_a_vector_is_dropped(tmp_path):
    for components, code, channels in [(1, 1007, 1), (4, 2004, 3)]:
        data = np.random.default_rng(0).integers(0, 255, (6, 7, 4, 1, components)).astype(np.uint8)
        image = nib.Nifti1Image(data, np.eye(4))
        image.header.set_intent(code)
        nib.save(image, tmp_path / "v.nii")
        scan = read_scan(tmp_path / "v.nii")
        assert scan.shape == (4, 7, 6) and scan.channel_count == channels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, bool])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_min_is_white_is_the_same_image(tmp_path, dtype, compression):
    array = (GREY > 99) if dtype is bool else GREY.astype(dtype)
    stored, options = np.invert(array), {"photometric": "miniswhite", "compression": compression}
    try:
        tifffile.imwrite(tmp_path / "w.tif", stored, **options)
    except NotImplementedError:
        pytest.skip("this version of tifffile cannot write it")
    np.testing.assert_array_equal(read_scan(tmp_path / "w.tif").array, array)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "jpeg"])
def test_min_is_white_and_codecs_of_libtiff(tmp_path, compression):
    """Pillow inverts such an image itself; its loss is JPEG's alone."""
    Image.fromarray(GREY).save(tmp_path / "b.tif", compression=compression)
    Image.fromarray(255 - GREY).save(tmp_path / "w.tif", compression=compression, tiffinfo={262: 0})
    with Image.open(tmp_path / "w.tif") as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(read_scan(tmp_path / "w.tif").array, expected)
    if compression != "jpeg":
        np.testing.assert_array_equal(read_scan(tmp_path / "b.tif").array, GREY)


def test_min_is_white_of_real_numbers_is_refused(tmp_path, assert_sentence):
    tifffile.imwrite(tmp_path / "w.tif", GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(LDSegError) as error:
        read_scan(tmp_path / "w.tif")
    assert_sentence(error, "w.tif", "white")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_upright(tmp_path, orientation):
    from PIL import ImageOps

    for name, array in [("p.png", GREY), ("c.png", COLOURS), ("p.jpg", GREY), ("p.tif", GREY)]:
        image = Image.fromarray(array)
        exif = image.getexif()
        exif[274] = orientation
        if name.endswith("tif"):
            image.save(tmp_path / name, tiffinfo={274: orientation})
        else:
            image.save(tmp_path / name, exif=exif)
        with Image.open(tmp_path / ("p.png" if name == "p.tif" else name)) as saved:
            expected = np.asarray(ImageOps.exif_transpose(saved))
        np.testing.assert_array_equal(read_scan(tmp_path / name).array, expected)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_colour_that_is_grey_is_one_channel(tmp_path, suffix):
    Image.fromarray(np.stack([GREY] * 3, -1)).save(tmp_path / f"grey{suffix}")
    scan = read_scan(tmp_path / f"grey{suffix}")
    assert not scan.channels
    np.testing.assert_array_equal(scan.array, GREY)
    almost = np.stack([GREY] * 3, -1)
    almost[7, 7, 1] ^= 1
    Image.fromarray(almost).save(tmp_path / f"tinted{suffix}")
    assert read_scan(tmp_path / f"tinted{suffix}").channel_count == 3


def test_a_blank_tile_stays_in_colour(tmp_path):
    Image.fromarray(np.full((9, 9, 3), 255, np.uint8)).save(tmp_path / "blank.png")
    assert read_scan(tmp_path / "blank.png").channel_count == 3


def test_a_tiff_with_a_palette_is_the_image_that_it_shows(tmp_path):
    palette = Image.fromarray(COLOURS).quantize(7)
    for name in ("p.png", "p.tif", "p.bmp"):
        palette.save(tmp_path / name)
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.array, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    "unit, mm",
    [("mm", 1), ("micron", 1e-3), ("\\u00B5m", 1e-3), ("um", 1e-3), ("cm", 10), ("inch", 25.4)],
)
def test_the_voxel_size_of_imagej(tmp_path, unit, mm):
    tifffile.imwrite(
        tmp_path / "ij.tif",
        STACK,
        imagej=True,
        resolution=(2, 4),
        metadata={"axes": "ZYX", "spacing": 2.4, "unit": unit},
    )
    scan = read_scan(tmp_path / "ij.tif")
    assert scan.calibrated
    np.testing.assert_allclose(scan.spacing, np.array([2.4, 0.25, 0.5]) * mm)


def test_the_voxel_size_of_ome(tmp_path):
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.7, "PhysicalSizeZ": 2.0}
    for unit, mm in [(None, 1e-3), ("mm", 1), ("nm", 1e-6), ("µm", 1e-3)]:
        units = {} if unit is None else {f"{key}Unit": unit for key in size}
        metadata = {"axes": "ZYX", **size, **units}
        tifffile.imwrite(tmp_path / "o.ome.tif", STACK, ome=True, metadata=metadata)
        scan = read_scan(tmp_path / "o.ome.tif")
        assert scan.calibrated
        np.testing.assert_allclose(scan.spacing, np.array([2.0, 0.7, 0.5]) * mm)


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "pixel"}},
        {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.5}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"resolution": (300, 300), "resolutionunit": "inch", "photometric": "minisblack"},
    ],
)
def test_without_a_unit_or_a_size_the_voxels_are_pixels(tmp_path, options):
    tifffile.imwrite(tmp_path / "x.tif", STACK, **options)
    scan = read_scan(tmp_path / "x.tif")
    assert not scan.calibrated and scan.spacing == (1, 1, 1)


@pytest.mark.parametrize(
    "options", [{}, {"ome": True}, {"imagej": True}], ids=["plain", "ome", "imagej"]
)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_stack_that_was_cut_off_is_not_read_as_a_shorter_one(
    tmp_path, options, kept, assert_sentence, caplog
):
    path = tmp_path / "stack.tif"
    frames = np.random.default_rng(0).integers(0, 255, (8, 64, 48), dtype=np.uint8)
    if options:
        tifffile.imwrite(
            path, frames, metadata={"axes": "ZYX"}, photometric="minisblack", **options
        )
    else:
        first, *others = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=others)
    assert read_scan(path).shape == (8, 64, 48)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(LDSegError) as error:
        read_scan(path)
    assert_sentence(error, "stack.tif")
    assert not caplog.records  # nothing raw beside the sentence


def test_separate_images_in_one_file_are_not_dropped(tmp_path, assert_sentence):
    path = tmp_path / "positions.tif"
    with tifffile.TiffWriter(path) as file:
        for frame in np.zeros((3, 64, 48), np.uint8):
            file.write(frame, contiguous=False)
    with pytest.raises(LDSegError) as error:
        read_scan(path)
    assert_sentence(error, "positions.tif", "3 separate images")
