"""Each format, read back by a program that is not ours: the same labels at the same place in the world."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
import zarr
from dicom_series import write_loop
from PIL import Image, ImageOps
from pydicom.uid import generate_uid

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.errors import LDSegError
from napari_ldseg.export.formats import (
    FORMATS,
    export_labels,
    export_map,
    fitting_formats,
    same_format,
)
from napari_ldseg.scans.files import read_labels, read_scan
from napari_ldseg.scans.scan import Scan, Source

from ..dicom_files import OPHTHALMIC, SECONDARY, dataset, save
from . import cases

LPS = np.diag([-1.0, -1, 1, 1])
TOLERANCE = 1e-4  # mm


def by_simpleitk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the array (x, y, z) and the RAS+ affine that ITK reads."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, LPS @ affine


def assert_same_place(affine: np.ndarray, expected: np.ndarray) -> None:
    """Compare where two affines put the corners of the volume."""
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in cases.SHAPE), 1]]).T
    assert np.abs((affine - expected) @ corners).max() < TOLERANCE


@pytest.mark.parametrize("name", ["nifti", "nrrd", "mha"])
def test_an_oblique_flipped_volume_comes_back_through_itk(tmp_path, name):
    result = cases.volume()
    sd = np.random.default_rng(0).random(result.scan.shape, np.float32) / 2
    labels = export_labels(tmp_path / f"scan{FORMATS[name].suffix}", result, name)
    values = export_map(tmp_path / f"sd{FORMATS[name].map_suffix}", sd, result, name)
    found, affine = by_simpleitk(labels)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, cases.file_labels())
    assert_same_place(affine, cases.oblique_affine())
    found, affine = by_simpleitk(values)
    assert_same_place(affine, cases.oblique_affine())
    assert found.dtype == np.float32
    # On display axes again: the voxel (0, 0, 0) of the file is somewhere else there.
    np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(sd.ravel()))
    assert [p.name for p in sorted(tmp_path.iterdir())] == sorted([labels.name, values.name])


def test_a_segmentation_of_3d_slicer_has_names_colours_codes_and_provenance(tmp_path):
    path = export_labels(tmp_path / "scan.seg.nrrd", cases.volume(), "nrrd")
    image = sitk.ReadImage(str(path))
    read = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert read["Segment0_Name"] == "left ventricle"
    assert read["Segment1_Name"] == "Épi, «wall»"
    assert [read[f"Segment{i}_LabelValue"] for i in range(3)] == ["1", "2", "5"]
    assert [round(255 * float(part)) for part in read["Segment0_Color"].split()] == [67, 99, 216]
    assert read["Segment0_Extent"] == "2 8 3 6 1 5"
    assert read["Segment2_Extent"] == "0 -1 0 -1 0 -1"
    assert "~SCT^87878005^left ventricle~" in read["Segment0_Tags"]
    assert "TerminologyEntry" not in read["Segment1_Tags"]
    assert json.loads(read["napari_ldseg"])["provenance"]["seed"] == 3


def test_a_picture_becomes_a_png_of_class_numbers_in_colours(tmp_path):
    result = cases.picture()
    path = export_labels(tmp_path / "photo.png", result, "png")
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), result.labels)
        assert image.convert("RGB").getpixel((3, 2)) == (0x43, 0x63, 0xD8)
        assert json.loads(image.text["napari_ldseg"])["provenance"]["samples"] == 4
    np.testing.assert_array_equal(read_labels(path).array, result.labels)
    many = cases.with_value(result, 700)
    export_labels(path, many, "png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), many.labels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_lie_on_a_turned_picture_as_viewers_show_it(tmp_path, orientation):
    upright = cases.picture().labels
    stored = upright
    if orientation >= 5:
        stored = stored.T
    if orientation in (3, 4, 6, 7):
        stored = stored[::-1]
    if orientation in (2, 3, 7, 8):
        stored = stored[:, ::-1]
    photo = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored * 80)).save(photo, exif=exif, quality=100)
    with Image.open(photo) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    path = export_labels(tmp_path / "photo.png", cases.picture(image=photo), "png")
    label = np.asarray(Image.open(path))
    assert label.shape == shown.shape
    assert (np.abs(shown.astype(int) - 80 * label.astype(int)) < 30).mean() > 0.9

    scan = tmp_path / "scan.tif"
    tags = [(274, "H", 1, orientation, False)]
    tifffile.imwrite(scan, np.ascontiguousarray(stored), extratags=tags, photometric="minisblack")
    path = export_labels(tmp_path / "label.tif", cases.picture(image=scan), "tiff")
    np.testing.assert_array_equal(tifffile.imread(path), tifffile.imread(scan))
    np.testing.assert_array_equal(read_labels(path).array, upright)


def test_a_stack_of_pages_keeps_its_axes_and_voxel_size(tmp_path):
    result = cases.stack()
    path = export_labels(tmp_path / "stack.tif", result, "tiff")
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "ZYX"
        np.testing.assert_array_equal(file.asarray(), result.labels)
        metadata, x = file.imagej_metadata, file.pages[0].tags[282].value
        assert json.loads(metadata["Info"])["provenance"]["steps"] == 10
    assert metadata["spacing"] == 1.7 and x[1] / x[0] == pytest.approx(0.3)
    np.testing.assert_allclose(read_labels(path).spacing, (1.7, 0.3, 0.3))
    sd = export_map(tmp_path / "sd.tif", result.labels / 10, result, "tiff")
    np.testing.assert_allclose(tifffile.imread(sd), result.labels / 10, rtol=1e-6)


def test_ome_zarr_has_levels_colours_and_scales(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_ldseg.export.zarr_labels.SMALLEST", 8)
    result = cases.stack()
    path = export_labels(tmp_path / "stack.ome.zarr", result, "zarr")
    group = zarr.open_group(path, mode="r")
    first, second = group["0"][:], group["1"][:]
    np.testing.assert_array_equal(first, result.labels)
    np.testing.assert_array_equal(second, result.labels[::2, ::2, ::2])
    multiscale = group.attrs["multiscales"][0]
    scales = [d["coordinateTransformations"][0]["scale"] for d in multiscale["datasets"]]
    np.testing.assert_allclose(scales[0], (1.7, 0.3, 0.3))
    np.testing.assert_allclose(scales[1], (3.4, 0.6, 0.6))
    assert group.attrs["image-label"]["colors"][0] == {"label-value": 1, "rgba": [67, 99, 216, 255]}
    assert group.attrs["napari_ldseg"]["provenance"]["seed"] == 3
    # Not installed with the tests: its requirements contradict those of others.
    standard = pytest.importorskip("ome_zarr_models.v04.image_label")
    standard.ImageLabel.from_zarr(group)  # raises where the standard is not met


@pytest.mark.parametrize("form", [2, 3])
def test_labels_are_added_to_the_ome_zarr_of_their_image(tmp_path, form):
    result = cases.stack()
    image = tmp_path / "scan.ome.zarr"
    group = zarr.open_group(image, mode="w", zarr_format=form)
    labels = result.labels
    group.create_array("0", shape=labels.shape, dtype=labels.dtype)[...] = labels
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    transformation = {"type": "scale", "scale": [1.7, 0.3, 0.3]}
    datasets = [{"path": "0", "coordinateTransformations": [transformation]}]
    multiscales = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    group.attrs.update(multiscales if form == 2 else {"ome": {"version": "0.5", **multiscales}})
    export_labels(image / "labels" / "one", result, "zarr")
    export_labels(image / "labels" / "two", result, "zarr")
    written = zarr.open_group(image / "labels", mode="r")
    np.testing.assert_array_equal(written["one/0"][:], result.labels)
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    nodes = list(reader.Reader(parse_url(image))())
    label = next(node for node in nodes if str(node.zarr.path).endswith("one"))
    np.testing.assert_array_equal(np.asarray(label.data[0]), result.labels)
    assert label.metadata["color"][1] == pytest.approx([67 / 255, 99 / 255, 216 / 255, 1])
    assert sum("labels/" in str(node.zarr.path) for node in nodes) == 2


def test_a_folder_of_results_called_labels_is_no_part_of_an_image(tmp_path):
    (tmp_path / "labels").mkdir()
    path = export_labels(tmp_path / "labels" / "a.ome.zarr", cases.stack(), "zarr")
    assert list((tmp_path / "labels").iterdir()) == [path]
    assert "source" not in zarr.open_group(path, mode="r").attrs["image-label"]


def test_a_class_s_name_cannot_end_its_tag_in_a_segmentation_of_3d_slicer(tmp_path):
    info = ClassInfo(
        name="a|Segmentation.Status:completed|~b^c", colour="#ff0000", snomed="87878005"
    )
    result = replace(cases.volume(), classes={1: info, 2: cases.CLASSES[2]})
    header = nrrd.read_header(str(export_labels(tmp_path / "a.seg.nrrd", result, "nrrd")))
    parts = header["Segment0_Tags"].split("|")
    assert parts[0] == "Segmentation.Status:inprogress" and len(parts) == 3
    assert len(parts[1].split("~")) == 7


def test_a_dicom_segmentation_lies_on_its_series(tmp_path):
    result = cases.dicom_volume(tmp_path)
    path = export_labels(tmp_path / "seg.dcm", result, "dicom-seg")
    import highdicom

    seg = highdicom.seg.segread(path)
    volume = seg.get_volume(combine_segments=True)  # (z, y, x) of the planes that hold labels
    found = np.zeros(cases.SHAPE, np.uint8)
    where = np.linalg.inv(cases.oblique_affine()) @ LPS @ volume.affine
    index = np.stack(np.indices(volume.spatial_shape), -1).reshape(-1, 3)
    x, y, z = np.rint(index @ where[:3, :3].T + where[:3, 3]).astype(int).T
    assert (
        np.abs(index @ where[:3, :3].T + where[:3, 3] - np.stack([x, y, z], -1)).max() < TOLERANCE
    )
    found[x, y, z] = volume.array.ravel()
    np.testing.assert_array_equal(found, cases.file_labels())

    source = pydicom.dcmread(result.scan.source.files[0], stop_before_pixels=True)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    referenced = {
        item.ReferencedSOPInstanceUID
        for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    files = [pydicom.dcmread(file) for file in result.scan.source.files]
    assert referenced == {file.SOPInstanceUID for file in files}
    # Each frame refers to the very slice that it lies on.
    positions = {file.SOPInstanceUID: file.ImagePositionPatient for file in files}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        own = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(own, positions[uid], atol=TOLERANCE)

    ventricle, wall, _ = seg.SegmentSequence
    assert seg.Manufacturer == "napari-ldseg"
    assert ventricle.SegmentedPropertyTypeCodeSequence[0].CodeValue == "87878005"
    assert wall.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99LDSEG"
    assert wall.SegmentLabel == "Épi, «wall»"
    assert ventricle.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = ventricle.SegmentationAlgorithmIdentificationSequence[0]
    assert (
        algorithm.AlgorithmName == "napari-ldseg camus"
        and "seed=3" in algorithm.AlgorithmParameters
    )


def test_an_invalid_header_is_named_by_its_attribute_and_never_by_the_patient_s_value(tmp_path):
    result = cases.dicom_volume(tmp_path)
    for file in result.scan.source.files:
        content = pydicom.dcmread(file)
        with pydicom.config.disable_value_validation():
            content.PatientBirthDate = "1950-01-31"
            content.save_as(file)
    with pytest.raises(LDSegError, match="PatientBirthDate is invalid") as error:
        export_labels(tmp_path / "seg.dcm", result, "dicom-seg")
    assert "1950" not in str(error.value) and not (tmp_path / "seg.dcm").exists()


def test_a_map_becomes_a_parametric_map_of_the_series(tmp_path):
    result = cases.dicom_volume(tmp_path)
    sd = (np.arange(result.labels.size, dtype=np.float32) / result.labels.size / 2).reshape(
        result.scan.shape
    )
    path = export_map(tmp_path / "sd.dcm", sd, result, "dicom-seg")
    import highdicom

    volume = highdicom.imread(path).get_volume()
    source = result.scan.source
    from napari_ldseg.scans.display_axes import to_file_axes

    where = np.linalg.inv(cases.oblique_affine()) @ LPS @ volume.affine
    index = np.stack(np.indices(volume.spatial_shape), -1).reshape(-1, 3)
    x, y, z = np.rint(index @ where[:3, :3].T + where[:3, 3]).astype(int).T
    np.testing.assert_array_equal(volume.array.ravel(), to_file_axes(sd, source)[x, y, z])


def test_a_loop_without_a_position_is_refused_with_a_reason(tmp_path):
    frames = np.arange(4 * 10 * 12, dtype=np.uint8).reshape(4, 10, 12)
    file = write_loop(tmp_path / "loop.dcm", frames)
    labels = (frames % 7 == 0).astype(np.uint8)
    source = Source(np.diag([-1.0, -1, 1, 1]), (12, 10, 1, 4), (2, 1, 0), (1, 1, 1), "DICOM")
    scan = Scan(labels, source=replace(source, files=(file,)), flat=True, name="loop.dcm")
    result = replace(cases.picture(), scan=scan, labels=labels)
    with pytest.raises(LDSegError, match=r"loop.dcm has no position in space .*save it as NIfTI"):
        export_labels(tmp_path / "seg.dcm", result, "dicom-seg")
    path = export_labels(tmp_path / "loop.nii.gz", result, "nifti")
    np.testing.assert_array_equal(nib.load(path).dataobj, labels.T[:, :, None])


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "missing"])
def test_a_series_without_a_slice_thickness_keeps_its_voxel_size(tmp_path, empty):
    import highdicom

    result = cases.dicom_volume(tmp_path)
    for file in result.scan.source.files:
        content = pydicom.dcmread(file)
        del content.SliceThickness
        if empty:
            content.SliceThickness = None
        content.save_as(file)
    expected = np.linalg.norm(cases.oblique_affine()[:3, :3], axis=0)
    for path in (
        export_labels(tmp_path / "seg.dcm", result, "dicom-seg"),
        export_map(tmp_path / "sd.dcm", result.labels / 10, result, "dicom-seg"),
    ):
        read = highdicom.seg.segread if path.name == "seg.dcm" else highdicom.imread
        found = read(path).get_volume()
        np.testing.assert_allclose(sorted(found.spacing), sorted(expected), rtol=1e-5)


def test_a_series_whose_files_were_replaced_is_refused(tmp_path):
    result = cases.dicom_volume(tmp_path)
    result.scan.source.files[0].write_text("not DICOM")
    with pytest.raises(LDSegError, match="does not hold the DICOM files of scan any more"):
        export_labels(tmp_path / "seg.dcm", result, "dicom-seg")


@pytest.mark.parametrize("tags", [{}, {"PixelSpacing": [0.01, 0.02]}], ids=["no size", "sized"])
@pytest.mark.parametrize("kind", ["secondary capture", "ophthalmic photography"])
def test_a_photograph_in_dicom_gets_a_segmentation_but_no_map(tmp_path, kind, tags):
    import highdicom

    image = np.random.default_rng(0).integers(0, 255, (20, 31, 3), np.uint8)
    if kind == "secondary capture":
        made = dataset(image, SECONDARY, "OT", **tags)
    else:
        made = dataset(image, OPHTHALMIC, "OP", NumberOfFrames=1, **tags)
        made.FrameOfReferenceUID = generate_uid()
    scan = read_scan(save(made, tmp_path / "eye.dcm"))
    labels = np.zeros(scan.shape, np.uint8)
    labels[3:9, 4:20], labels[12:, 25:] = 1, 2
    result = replace(cases.picture(), scan=scan, labels=labels)
    assert fitting_formats(result)[0] == "dicom-seg"
    seg = highdicom.seg.segread(export_labels(tmp_path / "seg.dcm", result, "dicom-seg"))
    frames = seg.pixel_array.reshape(-1, *labels.shape)
    for segment, frame in zip((1, 2), frames, strict=True):
        np.testing.assert_array_equal(frame, labels == segment)
    (referenced,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert referenced.ReferencedSOPInstanceUID == made.SOPInstanceUID
    with pytest.raises(
        LDSegError, match=r"eye.dcm cannot be saved as DICOM .*no position in space"
    ):
        export_map(tmp_path / "sd.dcm", labels / 10, result, "dicom-seg")
    assert not (tmp_path / "sd.dcm").exists()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(tmp_path):
    import subprocess

    result = cases.dicom_volume(tmp_path)
    written = [
        export_labels(tmp_path / "seg.dcm", result, "dicom-seg"),
        export_map(tmp_path / "sd.dcm", result.labels / 10, result, "dicom-seg"),
    ]
    for path in written:
        found = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        assert "Error" not in found, found


def test_formats_that_would_lose_the_position_are_not_offered(tmp_path):
    oblique, picture, stack = cases.volume(), cases.picture(), cases.stack()
    assert fitting_formats(oblique) == ["nrrd", "nifti", "mha"]
    assert (
        fitting_formats(cases.volume("MetaImage"))[0]
        == same_format(cases.volume("MetaImage"))
        == "mha"
    )
    assert fitting_formats(picture) == ["png", "nifti", "nrrd", "mha", "tiff", "zarr"]
    assert same_format(replace(picture, image=Path("a.TIF"))) == same_format(stack) == "tiff"
    with pytest.raises(LDSegError, match=r"scan cannot be saved as OME-Zarr: .*rotation"):
        export_labels(tmp_path / "scan.ome.zarr", oblique, "zarr")
    with pytest.raises(LDSegError, match=r"not from a DICOM series"):
        export_labels(tmp_path / "scan.dcm", oblique, "dicom-seg")


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, name, monkeypatch):
    (tmp_path / "ct").mkdir()
    result = cases.dicom_volume(tmp_path / "ct") if name == "dicom-seg" else cases.picture()
    path = tmp_path / "out" / f"label{FORMATS[name].suffix}"
    export_labels(path, result, name)
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(LDSegError, match=r"label.* could not be written: No space left on device"):
        export_labels(path, result, name)
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


def test_nifti_reads_the_same_with_nibabel(tmp_path):
    result = cases.volume("DICOM")
    path = export_labels(tmp_path / "scan.nii.gz", result, "nifti")
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), cases.file_labels())
    assert_same_place(image.affine, cases.oblique_affine())
