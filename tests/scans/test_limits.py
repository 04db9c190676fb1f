"""Small files that would become large, or lead elsewhere, are refused before they do."""

import gzip
import lzma
import os
import struct
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans.files import READERS, read_scan
from napari_ldseg.scans.scan import Scan

MEBIBYTE = 2**20
OME = '<?xml version="1.0"?>{}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="u:1">{}</OME>'


def assert_refused_cheaply(path, assert_sentence, *words):
    tracemalloc.start()
    try:
        with pytest.raises(LDSegError) as error:
            read_scan(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_sentence(error, path.name, *words)
    assert peak < 40 * MEBIBYTE


def header(start, **fields):
    found = nib.Nifti1Header()
    found.set_data_dtype(np.uint8)
    found.set_data_shape((4, 4, 4))
    found["vox_offset"], found["magic"] = start, b"n+1"
    for field, value in fields.items():
        found[field] = value
    return found.binaryblock


def test_extensions_of_nifti(tmp_path, assert_sentence):
    size = 2**28
    extension = struct.pack("<ii", size, 6) + bytes(size - 8)
    path = tmp_path / "extension.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(header(352.0 + size) + b"\1\0\0\0" + extension + bytes(64))
    assert_refused_cheaply(path, assert_sentence, "vox_offset")
    # The extension claims more than the file leaves to it.
    with gzip.open(path, "wb", 1) as file:
        file.write(header(384.0) + b"\1\0\0\0" + extension + bytes(64))
    assert_refused_cheaply(path, assert_sentence)


def test_a_header_of_more_than_the_file_can_hold(tmp_path, assert_sentence):
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(gzip.compress(header(352, dim=[3, 500, 500, 500, 1, 1, 1, 1]) + bytes(99)))
    assert_refused_cheaply(path, assert_sentence, "truncated")


def tiff(path, compression, data, shape=(10, 10)):
    tags = [
        (256, 4, 1, shape[1]), (257, 4, 1, shape[0]), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, shape[0]), (279, 4, 1, len(data)),
    ]  # fmt: skip
    data += b"\0" * (len(data) % 2)
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + bytes(4)
    )
    return path


def test_strips_of_tiff_that_expand_beyond_their_size(tmp_path, assert_sentence):
    zeros = bytes(2**28)
    path = tmp_path / "bomb.tif"
    for compression, data in [
        (8, zlib.compress(zeros, 1)),
        (34925, lzma.compress(zeros, preset=0)),
        (34925, lzma.compress(bytes(100)) + lzma.compress(zeros, preset=0)),
    ]:
        assert_refused_cheaply(tiff(path, compression, data), assert_sentence, "damaged")
    del zeros
    tiff(path, 32773, b"\x81\0" * 10**6)  # 122 MiB
    tracemalloc.start()
    assert read_scan(path).shape == (10, 10)
    assert tracemalloc.get_traced_memory()[1] < 40 * MEBIBYTE
    tracemalloc.stop()


def test_ome_metadata_that_expand_or_name_other_files(tmp_path, assert_sentence):
    entities = '<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    other = (
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="4" SizeY="4" '
        'SizeC="1" SizeZ="2" SizeT="1"><TiffData IFD="0" FirstZ="1" PlaneCount="1">'
        '<UUID FileName="../secret.tif">u:2</UUID></TiffData></Pixels></Image>'
    )
    tifffile.imwrite(tmp_path / "secret.tif", np.full((4, 4), 77, np.uint8))
    path = tmp_path / "sub" / "x.ome.tif"
    path.parent.mkdir()
    for text, word in [
        (OME.format(entities, "<x>&b;</x>"), "entities"),
        (OME.format("", other), "several files"),
        (OME.format("", '<BinaryOnly MetadataFile="c.ome" UUID="u:2"/>'), "several files"),
    ]:
        tifffile.imwrite(path, np.zeros((4, 4), np.uint8), description=text, metadata=None)
        assert_refused_cheaply(path, assert_sentence, word)


def test_a_renamed_ome_tiff_is_still_one_file(tmp_path):
    array = np.arange(2 * 99, dtype=np.uint8).reshape(2, 9, 11)
    tifffile.imwrite(tmp_path / "a.ome.tif", array, ome=True, metadata={"axes": "ZYX"})
    (tmp_path / "a.ome.tif").rename(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(read_scan(tmp_path / "b.ome.tif").array, array)


def test_animations_are_refused(tmp_path, assert_sentence):
    frames = [Image.fromarray(np.full((9, 11), 50 * i, np.uint8)) for i in range(4)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert_refused_cheaply(tmp_path / "a.png", assert_sentence, "animated")


def test_large_images_are_refused_from_their_header(tmp_path, assert_sentence):
    Image.new("1", (20_000, 12_000)).save(tmp_path / "large.png")
    assert_refused_cheaply(tmp_path / "large.png", assert_sentence, "pixels")
    tiff(tmp_path / "large.tif", 8, zlib.compress(bytes(100)), (60_000, 60_000))
    assert_refused_cheaply(tmp_path / "large.tif", assert_sentence, "2^31")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_and_folders(tmp_path, assert_sentence):
    for name in ("p.png", "p.nii", "p.tif", "p.nii.gz"):
        os.mkfifo(tmp_path / name)
        assert_refused_cheaply(tmp_path / name, assert_sentence, "regular file")
        (tmp_path / f"f{name}").mkdir()
        assert_refused_cheaply(tmp_path / f"f{name}", assert_sentence, "folder")


def test_an_image_without_pixels_is_refused(tmp_path, monkeypatch, assert_sentence):
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, np.ones((6, 8), np.uint8))
    monkeypatch.setitem(READERS, ".tif", lambda path: Scan(np.zeros((0, 8), np.uint8)))
    assert_refused_cheaply(path, assert_sentence, "no pixels")
