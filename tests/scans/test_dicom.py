"""DICOM: geometry against ITK, the order of slices, time, colours, compression, and what is refused."""

import shutil
import warnings
import zipfile

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans.dicom.archive import remove_unpacked
from napari_ldseg.scans.dicom.series import series_of_folder
from napari_ldseg.scans.files import image_files, image_hash, read_like, read_scan, write_like

from ..dicom_files import (
    AXIAL,
    PATIENT,
    clip,
    compressed,
    dataset,
    enhanced,
    oblique,
    save,
    save_series,
    slices,
    volume,
)

NM = "1.2.840.10008.5.1.4.1.1.20"
CORONAL, SAGITTAL = (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
LPS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture(autouse=True)
def no_unpacked_files():
    yield
    remove_unpacked()


def corners(scan):
    """Return the LPS points of the file's corner voxels (x, y, z) and the values there."""
    source = scan.source
    ends = (
        np.array(np.meshgrid(*([0, n - 1] for n in source.shape[:3]), indexing="ij"))
        .reshape(3, -1)
        .T
    )
    points = ends @ source.affine[:3, :3].T + source.affine[:3, 3]
    display = np.zeros_like(ends)
    for axis, file_axis in enumerate(source.order):
        index = ends[:, file_axis]
        size = source.shape[file_axis]
        display[:, axis] = size - 1 - index if source.flips[axis] < 0 else index
    shown = display @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    np.testing.assert_allclose(shown, points, atol=1e-4)
    axes = [i for i in range(3) if scan.space == 3 or source.shape[source.order[i]] > 1]
    values = np.asarray(scan.array)[tuple(display[:, axes].T)]
    return ends, points @ LPS, values


@pytest.mark.parametrize(
    ("orientation", "shear", "backwards"),
    [
        (AXIAL, (0, 0), False),
        (AXIAL, (0, 0), True),
        (CORONAL, (0, 0), False),
        (SAGITTAL, (0, 0), False),
        (oblique(), (0, 0), False),
        (tuple(-v for v in oblique()), (0, 0), True),
        (AXIAL, (0, 0.8), False),
        (oblique(), (0.3, -0.6), False),
    ],
    ids=[
        "axial",
        "reversed",
        "coronal",
        "sagittal",
        "oblique",
        "turned",
        "tilted",
        "oblique-tilted",
    ],
)
def test_every_voxel_of_a_series_is_where_itk_puts_it(tmp_path, orientation, shear, backwards):
    array = volume()
    made = slices(array, orientation, step=-2.5 if backwards else 2.5, shear=shear)
    paths = save_series(tmp_path / "ct", made)
    scan = read_scan(tmp_path / "ct")
    assert scan.array.dtype == np.int16 and scan.calibrated and scan.modality == "CT"
    # ITK reads each slice by itself, so that no rule of ours for their order can hide.
    places = {}
    for path in paths:
        image = sitk.ReadImage(str(path))
        for i in (0, 6):
            for j in (0, 5):
                point = image.TransformIndexToPhysicalPoint((i, j, 0))
                places[tuple(np.round(point, 3))] = image.GetPixel(i, j, 0)
    _, points, values = corners(scan)
    for point, value in zip(points, values, strict=True):
        nearest = min(places, key=lambda p: np.linalg.norm(np.array(p) - point))
        assert np.linalg.norm(np.array(nearest) - point) < 1e-3 + 1e-3
        assert places[nearest] == value
    if shear == (0, 0):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
        image = reader.Execute()
        ends, points, _ = corners(scan)
        theirs = [image.TransformIndexToPhysicalPoint([int(v) for v in end]) for end in ends]
        np.testing.assert_allclose(points, theirs, atol=1e-3)
    # File k is slice k.
    for k, path in enumerate(scan.source.files):
        place = np.array(pydicom.dcmread(path).ImagePositionPatient, float)
        np.testing.assert_allclose(LPS @ (scan.source.affine @ [0, 0, k, 1])[:3], place, atol=1e-4)


def test_a_label_on_a_series_comes_back_and_one_slice_stands_for_its_series(tmp_path):
    paths = save_series(tmp_path / "a", slices(volume(), oblique()))
    scan = read_scan(paths[2])
    assert scan.shape == read_scan(tmp_path / "a").shape and len(scan.source.files) == 5
    label = np.random.default_rng(0).integers(0, 3, scan.shape).astype(np.uint8)
    written = write_like(tmp_path / "label.nii.gz", label, scan)
    np.testing.assert_array_equal(read_like(written, scan), label)
    again = read_scan(written)
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-4)
    # The hash is that of the content: names of files do not count, values do.
    before = image_hash(paths[0])
    assert image_files(paths[0]) == scan.source.files
    paths[1].rename(tmp_path / "a" / "renamed.ima")
    assert image_hash(paths[0]) == before == image_hash(tmp_path / "a")
    save(slices(volume(seed=1), oblique())[0], tmp_path / "a" / "other.dcm")
    assert image_hash(paths[0]) == before
    paths[3].write_bytes(paths[3].read_bytes()[:-2] + b"\1\1")
    assert image_hash(paths[0]) != before


def test_values_are_rescaled_by_each_file_and_minimum_is_white_is_inverted(tmp_path):
    array = volume((3, 4, 5))
    made = slices(array)
    for i, one in enumerate(made):
        one.RescaleSlope, one.RescaleIntercept = str(0.5 + i), "3"
    save_series(tmp_path / "pet", made)
    scan = read_scan(tmp_path / "pet")
    expected = array * (0.5 + np.arange(3))[:, None, None] + 3
    np.testing.assert_allclose(scan.array, expected[:, :, :], rtol=1e-6)
    white = dataset(
        array[0], PhotometricInterpretation="MONOCHROME1", WindowCenter="100", WindowWidth="50"
    )
    white.BitsStored, white.HighBit = 12, 11
    scan = read_scan(save(white, tmp_path / "dx.dcm"))
    np.testing.assert_array_equal(scan.array, 4095 - array[0].astype(int))
    assert scan.source.window == (4095 - 125, 4095 - 75)


def test_time_points_at_the_same_places_become_frames(tmp_path):
    array = volume((3, 4, 5, 6))
    made = []
    for t in range(3):
        made += slices(array[t], AcquisitionNumber=t + 1)
    series = made[0].SeriesInstanceUID
    for one in made:
        one.SeriesInstanceUID = series
    save_series(tmp_path / "perfusion", made)
    scan = read_scan(tmp_path / "perfusion")
    assert scan.shape == (3, 4, 5, 6) and scan.space == 3 and scan.source.shape == (6, 5, 4, 3)
    np.testing.assert_array_equal(scan.array, array.astype(int) - 1024)
    assert [read.AcquisitionNumber for read in map(pydicom.dcmread, scan.source.files)] == [
        *[1] * 4,
        *[2] * 4,
        *[3] * 4,
    ]


def test_what_is_no_even_volume_is_refused_with_the_place(tmp_path, assert_sentence):
    full = slices(volume((7, 5, 6)))
    cases = {
        "gap": (full[:3] + full[4:], ("gap", "5 mm")),
        "uneven": (
            slices(volume((3, 5, 6))) + slices(volume((1, 5, 6)), origin=(-40, 30, 18.2)),
            ("uneven",),
        ),
        "shifted": (
            slices(volume((3, 5, 6))) + slices(volume((1, 5, 6)), origin=(-40, 33, 19.5)),
            ("sideways",),
        ),
        "double": (full + slices(volume((1, 5, 6))), ("2 slices at the place",)),
    }
    for name, (made, words) in cases.items():
        for one in made:
            one.SeriesInstanceUID = full[0].SeriesInstanceUID
        save_series(tmp_path / name, made)
        with pytest.raises(LDSegError) as error:
            read_scan(tmp_path / name)
        assert_sentence(error, name, *words)
    save_series(tmp_path / "spread" / "a", full[:4])
    save_series(tmp_path / "spread" / "b", full[4:])
    with pytest.raises(LDSegError) as error:
        read_scan(tmp_path / "spread")
    assert_sentence(error, "several folders")


def test_a_folder_of_a_study_lists_its_series_without_patient_and_without_what_is_no_image(
    tmp_path,
):
    study = tmp_path / "Mustermann_Erika"
    chest = slices(volume((4, 5, 6)), SeriesDescription="Thorax 1.0")
    save_series(study / "1", chest)
    save(chest[0], study / "1" / "copy.dcm")
    scout = slices(
        volume((1, 9, 6)),
        CORONAL,
        SeriesDescription="scout",
        SeriesInstanceUID=chest[0].SeriesInstanceUID,
    )
    save(scout[0], study / "1" / "scout")
    save_series(
        study / "2", slices(volume((3, 5, 6)), SeriesDescription="MUSTERMANN liver", SeriesNumber=4)
    )
    report = dataset(volume((2, 2)), modality="SR")
    del report.Rows, report.Columns, report.PixelData
    save(report, study / "report")
    (study / "DICOMDIR").write_bytes(b"not looked at")
    (study / "damaged.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\0\0\0UL\4")
    (study / "notes.txt").write_text("x")
    lines = []
    found = series_of_folder(study, lines.append)
    named = [(one.name, one.images) for one in found]
    assert named == [("series_3_Thorax_1.0", 4), ("series_4", 3)]
    assert [one.description for one in found] == ["Thorax 1.0", ""]
    text = " ".join(lines)
    for word in ("copy.dcm", "scout: a single slice", "2 DICOM files without"):
        assert word in text
    shown = f"{text} {named} {[one.description for one in found]}".casefold()
    assert not any(word.casefold() in shown for word in PATIENT.split("^"))


def test_a_zip_archive_is_read_and_its_names_lead_nowhere(tmp_path, assert_sentence):
    paths = save_series(tmp_path / "ct", slices(volume()))
    with zipfile.ZipFile(tmp_path / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, path in enumerate(paths):
            archive.write(path, f"../../../outside{i}.dcm")
        archive.writestr("/etc/readme.txt", "hello")
    before = sorted(tmp_path.rglob("*"))
    scan = read_scan(tmp_path / "ct.zip")
    np.testing.assert_array_equal(scan.array, read_scan(tmp_path / "ct").array)
    assert sorted(tmp_path.rglob("*")) == before
    assert all(file.is_file() for file in scan.source.files)
    remove_unpacked()
    assert not any(file.exists() for file in scan.source.files)
    bad = {"other.zip": b"PK\3\4 damaged", "none.zip": None}
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(LDSegError) as error:
            read_scan(tmp_path / name)
        assert_sentence(error, name)


def test_enhanced_multi_frame_files(tmp_path, assert_sentence):
    array, orientation = volume((6, 4, 5)), oblique()
    x, y = np.array(orientation).reshape(2, 3)
    places = [np.array([10, -20, 5]) + 3.0 * k * np.cross(x, y) for k in range(6)]
    order = [3, 0, 5, 1, 4, 2]  # frames are not stored along the normal
    made = enhanced(array[order], [places[k] for k in order], orientation)
    scan = read_scan(save(made, tmp_path / "mr.dcm"))
    ends, points, values = corners(scan)
    for end, point, value in zip(ends, points, values, strict=True):
        expected = places[end[2]] + x * 0.9 * end[0] + y * 0.7 * end[1]
        np.testing.assert_allclose(point, expected, atol=1e-4)
        assert value == array[end[2], end[1], end[0]]
    # Two time points of three places each, with a slope for each frame.
    times = [1, 1, 1, 2, 2, 2]
    made = enhanced(array, places[:3] * 2, orientation, times=times, slopes=[0.5] * 3 + [2] * 3)
    scan = read_scan(save(made, tmp_path / "time.dcm"))
    assert scan.shape[0] == 2 and scan.source.shape == (5, 4, 3, 2)
    for t, slope in enumerate((0.5, 2)):
        assert sorted(np.ravel(scan.array[t])) == sorted(np.ravel(array[3 * t : 3 * t + 3] * slope))
    made = enhanced(array, [*places[:5], places[5] + 9], orientation)
    with pytest.raises(LDSegError) as error:
        read_scan(save(made, tmp_path / "gap.dcm"))
    assert_sentence(error, "gap.dcm")


def test_stacks_of_several_orientations_in_one_file_are_images_of_their_own(
    tmp_path, assert_sentence
):
    array = volume((5, 4, 4))
    made = enhanced(array, [(0, 0, 3 * k) for k in range(3)] + [(0, 4 * k, 0) for k in range(2)])
    for k, group in enumerate(made.PerFrameFunctionalGroupsSequence):
        plane = Dataset()
        plane.ImageOrientationPatient = list(AXIAL if k < 3 else CORONAL)
        group.PlaneOrientationSequence = Sequence([plane])
    path = save(made, tmp_path / "spine.dcm")
    with pytest.raises(LDSegError) as error:
        read_scan(path)
    assert_sentence(error, "2 images", "spine.dcm/stack_1")
    first, second = series_of_folder(tmp_path)
    assert [(one.images, one.unit) for one in (first, second)] == [(3, "slice"), (2, "slice")]
    scans = [read_scan(one.path) for one in (first, second)]
    assert [scan.source.shape for scan in scans] == [(4, 4, 3), (4, 4, 2)]
    _, points, values = corners(scans[1])
    frames = {tuple(p): v for p, v in zip(np.round(points, 4).tolist(), values, strict=True)}
    assert frames[0, 4, 0] == array[4, 0, 0]
    assert scans[1].spacing[1] == 4
    assert image_hash(first.path) != image_hash(second.path)


def test_nuclear_medicine_is_a_volume_where_the_file_gives_its_slices(tmp_path, assert_sentence):
    array = volume((4, 5, 6))
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [-10, -20, 30], list(AXIAL)
    tags = {
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        "PixelSpacing": ["2", "3"],
        "SpacingBetweenSlices": "-4",
        "SliceVector": [1, 2, 3, 4],
        "DetectorInformationSequence": Sequence([detector]),
    }
    scan = read_scan(save(dataset(array, NM, "NM", **tags), tmp_path / "spect.dcm"))
    ends, points, values = corners(scan)
    for end, point, value in zip(ends, points, values, strict=True):
        # Counted along the patient's axis upwards, against the order of the frames.
        frame = 3 - end[2]
        np.testing.assert_allclose(point, (-10 + 3 * end[0], -20 + 2 * end[1], 30 - 4 * frame))
        assert value == array[frame, end[1], end[0]]
    del tags["DetectorInformationSequence"]
    raw = {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]}
    for name, kept, words in (("none.dcm", tags, "position"), ("raw.dcm", raw, "projections")):
        with pytest.raises(LDSegError) as error:
            read_scan(save(dataset(array, NM, "NM", **kept), tmp_path / name))
        assert_sentence(error, name, words)
    dynamic = {"ImageType": ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]}
    assert read_scan(save(dataset(array, NM, "NM", **dynamic), tmp_path / "dynamic.dcm")).flat


def test_highdicom_and_we_agree_on_a_multi_frame_volume(tmp_path):
    places = [np.array([10.0, -20, 5 + 3 * k]) for k in range(4)]
    path = save(enhanced(volume((4, 6, 5)), places), tmp_path / "mr.dcm")
    theirs = highdicom.Image.from_file(path).get_volume()
    scan = read_scan(path)
    index = np.array([2, 5, 4, 1.0])  # slice, row, column
    ours = scan.source.affine @ [index[2], index[1], index[0], 1]
    spatial = dict(zip(("slice", "row", "column"), theirs.affine[:3, :3].T, strict=True))
    at = theirs.affine[:3, 3]
    # highdicom counts slices in its own direction.
    first_is_ours = np.allclose(at @ LPS, scan.source.affine[:3, 3], atol=1e-4)
    slice_index = index[0] if first_is_ours else 3 - index[0]
    point = (
        at
        + spatial["slice"] * slice_index
        + spatial["row"] * index[1]
        + spatial["column"] * index[2]
    )
    np.testing.assert_allclose(LPS @ ours[:3], point, atol=1e-3)


def test_ultrasound_clips_are_2d_over_time_with_the_size_of_their_region(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (4, 6, 8, 3)).astype(np.uint8)
    scan = read_scan(save(clip(array), tmp_path / "us.dcm"))
    np.testing.assert_array_equal(scan.array, array)
    assert scan.flat and scan.space == 2 and scan.channels and scan.calibrated
    np.testing.assert_allclose(scan.spacing[1:], (0.3, 0.5))
    written = write_like(tmp_path / "label.nii.gz", np.ones(scan.shape, np.uint8), scan)
    assert read_like(written, scan).shape == (4, 6, 8)
    grey = np.repeat(array[..., :1], 3, axis=-1)
    assert not read_scan(save(clip(grey), tmp_path / "grey.dcm")).channels


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_values_are_the_uncompressed_ones(tmp_path, syntax):
    made = slices(volume((3, 64, 64)))
    expected = read_scan(save_series(tmp_path / "a", made)[0]).array
    paths = save_series(tmp_path / "b", [compressed(one, syntax) for one in made])
    np.testing.assert_array_equal(read_scan(paths[0]).array, expected)


def test_compressed_data_of_another_size_than_the_header_are_not_decoded(tmp_path, assert_sentence):
    made = compressed(dataset(volume((64, 64))), JPEG2000Lossless)
    made.Rows = made.Columns = 16
    with pytest.raises(LDSegError) as error:
        read_scan(save(made, tmp_path / "bomb.dcm"))
    assert_sentence(error, "bomb.dcm", "16 x 16")


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("CT_small.dcm", True),
        ("MR_small_bigendian.dcm", True),
        ("MR_small_implicit.dcm", True),
        ("MR_small_RLE.dcm", True),
        ("MR_small_jp2klossless.dcm", True),
        ("MR_small_jpeg_ls_lossless.dcm", True),
        ("693_J2KI.dcm", True),
        ("JPEGLSNearLossless_16.dcm", True),
        ("JPGExtended.dcm", False),
        ("image_dfl.dcm", True),
        ("examples_palette.dcm", True),
        ("examples_ybr_color.dcm", False),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", False),
        ("SC_rgb_small_odd.dcm", True),
    ],
)
def test_pydicoms_own_files_have_the_values_and_places_that_itk_reads(tmp_path, name, exact):
    path = tmp_path / name
    shutil.copy(get_testdata_file(name, download=False), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = read_scan(path)
    image = sitk.ReadImage(str(path))
    theirs = np.squeeze(sitk.GetArrayFromImage(image)).astype(float)
    difference = np.abs(np.squeeze(np.asarray(scan.array)).astype(float) - theirs)
    assert difference.max() <= (0 if exact else 3) and difference.mean() < 0.2
    if scan.modality in ("CT", "MR"):
        for index in ((0, 0, 0), (image.GetWidth() - 1, image.GetHeight() - 1, 0)):
            ours = LPS @ (scan.source.affine @ [*index, 1])[:3]
            np.testing.assert_allclose(ours, image.TransformIndexToPhysicalPoint(index), atol=1e-3)
