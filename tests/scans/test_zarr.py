"""OME-Zarr: scale, units, axes and lazy reading, and folders that are not what they seem."""

import json
import shutil

import dask.array
import numpy as np
import pytest
import zarr

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans import zarr_image
from napari_ldseg.scans.files import image_hash, read_like, read_scan, write_like

from ..dicom_files import volume
from ..zarr_files import ome_zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_scale_translation_and_unit_give_the_place(tmp_path, version):
    array = volume((4, 5, 6))
    options = {"version": version, "unit": "micrometer", "translation": (100, 20, 30)}
    path = ome_zarr(tmp_path / "a.ome.zarr", array, "zyx", (2000.0, 500.0, 250.0), **options)
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.array, array)
    np.testing.assert_allclose(scan.spacing, (2.0, 0.5, 0.25))
    np.testing.assert_allclose(scan.affine[:3, 3], (-0.03, -0.02, 0.1))
    assert scan.calibrated and scan.source.format == "OME-Zarr"
    label = (np.asarray(scan.array) > 1000).astype(np.uint8)
    written = write_like(tmp_path / "label.nii.gz", label, scan)
    np.testing.assert_array_equal(read_like(written, scan), label)
    np.testing.assert_allclose(read_scan(written).affine, scan.affine, atol=1e-6)
    before = image_hash(path)
    (path / "0" / "extra").write_bytes(b"x")
    assert image_hash(path) != before


def test_time_and_channels_by_the_axes_and_pixels_without_a_unit(tmp_path):
    array = volume((3, 2, 4, 5, 6))
    scan = read_scan(ome_zarr(tmp_path / "a.zarr", array, "tczyx", (1, 1, 2, 1, 1), unit=None))
    assert scan.shape == (3, 4, 5, 6) and scan.channel_count == 2 and not scan.calibrated
    np.testing.assert_array_equal(scan.array, np.moveaxis(array, 1, -1))
    flat = read_scan(ome_zarr(tmp_path / "b.zarr", array[0, 0, 0], "yx", (0.5, 0.25)))
    assert flat.space == 2
    np.testing.assert_array_equal(flat.array, array[0, 0, 0])


def test_a_large_image_stays_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_image, "EAGER_BYTES", 10)
    array = volume((4, 5, 6))
    scan = read_scan(ome_zarr(tmp_path / "a.zarr", array, "zyx", (1, 1, 1), chunks=(2, 5, 6)))
    assert isinstance(scan.array, dask.array.Array)
    np.testing.assert_array_equal(scan.array, array)


def test_only_chunks_inside_the_folder_with_plain_codecs_are_read(tmp_path, assert_sentence):
    def made(name, **options):
        return ome_zarr(tmp_path / name, volume((4, 5, 6)), "zyx", (1, 1, 1), **options)

    def refused(path, *words):
        with pytest.raises(LDSegError) as error:
            read_scan(path)
        assert_sentence(error, path.name, *words)

    def edited(path, change, file="zarr.json"):
        content = json.loads((path / file).read_text())
        change(content)
        (path / file).write_text(json.dumps(content))
        return path

    def names(path):
        def change(content):
            content["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = path

        return change

    outside = made("outside.zarr")
    for path in ("../outside.zarr/0", "/etc", "a//b", "http://x/y"):
        refused(edited(made("a.zarr"), names(path)), "not inside")
        shutil.rmtree(tmp_path / "a.zarr")
    link = made("link.zarr")
    (link / "more").symlink_to(outside)
    refused(link, "links")
    pickled = edited(
        made("pickle.zarr", version="0.4"),
        lambda content: content.update(filters=[{"id": "pickle", "protocol": 5}]),
        "0/.zarray",
    )
    refused(pickled, "codec 'pickle'")
    # A chunk that expands to far more than the header gives.
    for name, compressor in (("zstd", zarr.codecs.ZstdCodec()), ("gzip", zarr.codecs.GzipCodec())):
        big = ome_zarr(
            tmp_path / f"{name}.zarr",
            np.ones((64, 64, 64), np.uint8),
            "zyx",
            (1, 1, 1),
            compressors=compressor,
        )

        def smaller(content):
            content["shape"] = content["chunk_grid"]["configuration"]["chunk_shape"] = [2, 2, 2]

        refused(edited(big, smaller, "0/zarr.json"), "more data")
    (tmp_path / "empty.zarr").mkdir()
    refused(tmp_path / "empty.zarr", "multiscales")
