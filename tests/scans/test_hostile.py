"""Files made to read what is not theirs, or to become far more than they are: refused before that happens."""

import bz2
import gzip
import json
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import zarr
from pydicom.uid import DeflatedExplicitVRLittleEndian

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans.dicom import header as dicom_header
from napari_ldseg.scans.dicom.archive import remove_unpacked
from napari_ldseg.scans.dicom.series import series_of_folder
from napari_ldseg.scans.files import read_scan

from ..dicom_files import SECONDARY, dataset, save, save_series, slices, volume
from ..zarr_files import ome_zarr

ZEROS = bytes(2**26)
MOST = 2**25  # bytes that reading may need


@contextmanager
def little_memory():
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


def refused(path, assert_sentence, *words):
    with little_memory(), pytest.raises(LDSegError) as error:
        read_scan(path)
    assert_sentence(error, path.name, *words)


def test_an_archive_with_a_codec_that_cannot_be_bounded(tmp_path, assert_sentence):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.dcm", bytes(128) + b"DICM" + ZEROS)
    refused(tmp_path / "a.zip", assert_sentence, "unusual way")


def test_a_damaged_archive_leaves_nothing_behind(tmp_path, monkeypatch, assert_sentence):
    remove_unpacked()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    content = save(dataset(volume((4, 5))), tmp_path / "a.dcm").read_bytes()
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", content)
    path.write_bytes(path.read_bytes().replace(content[-30:], bytes(30)))
    refused(path, assert_sentence)
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("name", ["LoCaL", "lOCAL", "LOCAL\x0b", "LOCAL\x1c"])
def test_only_itks_spellings_of_local_mean_the_file_itself(tmp_path, name, assert_sentence):
    (tmp_path / "secret").write_bytes(b"secret" * 3)
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "secret")
    header = f"NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    (folder / "a.mha").write_bytes(header.encode() + bytes(16))
    refused(folder / "a.mha", assert_sentence)


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_what_nrrd_skips_is_not_decompressed(tmp_path, encoding, assert_sentence):
    packed = gzip.compress(ZEROS, 1) if encoding == "gzip" else bz2.compress(ZEROS)
    head = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 4 4\nencoding: {encoding}\nbyte skip: {len(ZEROS) - 16}\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + packed)
    refused(tmp_path / "a.nrrd", assert_sentence, "byte skip")


def test_a_chunk_of_several_gzip_streams(tmp_path, assert_sentence):
    array = np.ones((4, 8, 8), np.uint8)
    path = ome_zarr(
        tmp_path / "a.zarr", array, "zyx", (1, 1, 1), compressors=zarr.codecs.GzipCodec()
    )
    (chunk,) = (file for file in (path / "0" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(gzip.compress(b"") + gzip.compress(ZEROS, 1))
    refused(path, assert_sentence, "more data")


def test_an_image_of_millions_of_chunks_that_are_not_stored(tmp_path, assert_sentence):
    path = ome_zarr(tmp_path / "a.zarr", volume((2, 2, 2)), "zyx", (1, 1, 1), chunks=(1, 1, 1))
    described = json.loads((path / "0" / "zarr.json").read_text())
    described["shape"] = [400, 400, 400]
    (path / "0" / "zarr.json").write_text(json.dumps(described))
    refused(path, assert_sentence, "larger ones")


@pytest.mark.parametrize("preamble", [True, False])
def test_a_deflated_dataset_is_measured_with_and_without_a_preamble(
    tmp_path, preamble, monkeypatch, assert_sentence
):
    monkeypatch.setattr(dicom_header, "MAX_DEFLATED", 2**20)
    made = dataset(volume((4, 4)))
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = save(made, tmp_path / "a.dcm").read_bytes()
    (length,) = struct.unpack("<I", content[140:144])
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(ZEROS) + packer.flush()
    (tmp_path / "a.dcm").write_bytes(content[0 if preamble else 132 : 144 + length] + bomb)
    refused(tmp_path / "a.dcm", assert_sentence, "expands")


def test_a_palette_that_would_expand_without_end(tmp_path, assert_sentence):
    made = dataset(np.zeros((4, 4), np.uint8), SECONDARY, "OT")
    made.PhotometricInterpretation = "PALETTE COLOR"

    def with_segments(*segments):
        for colour in ("Red", "Green", "Blue"):
            setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            data = np.array(segments, np.uint16).tobytes()
            setattr(made, f"Segmented{colour}PaletteColorLookupTableData", data)
        return save(made, tmp_path / "a.dcm")

    assert read_scan(with_segments(0, 1, 0, 1, 255, 65535)).array.shape[:2] == (4, 4)
    refused(with_segments(0, 1, 0, *[1, 65535, 9] * 40), assert_sentence, "colours")
    refused(with_segments(0, 1, 0, 2, 1, 0, 0), assert_sentence, "repeat")


def test_the_error_of_a_damaged_file_does_not_repeat_a_value(tmp_path, assert_sentence):
    path = save(slices(volume((1, 4, 5)))[0], tmp_path / "a.dcm")
    content = path.read_bytes()
    start = content.index(b"\x20\0\x32\0DS")
    (length,) = struct.unpack("<H", content[start + 6 : start + 8])
    name = b"Mustermann\\2\\3".ljust(length)
    path.write_bytes(content[: start + 8] + name[:length] + content[start + 8 + length :])
    with pytest.raises(LDSegError) as error:
        read_scan(path)
    assert_sentence(error, "a.dcm")
    assert "Muster" not in str(error.value)


@pytest.mark.parametrize(
    "tags, description, kept",
    [
        ({"PatientName": "Li^Bo"}, "Liver of BO", False),
        ({"PatientName": "Li^Bo"}, "Liver", True),
        ({"PatientName": "Wang^Xiaodong=王^小东"}, "王小东", False),
        ({"PatientName": "Müller^Jörg"}, "MU\u0308LLER control", False),
        ({"PatientBirthDate": "19500131"}, "born 19500131", False),
        ({"OtherPatientNames": "Gabler^Erika"}, "formerly Gabler", False),
    ],
)
def test_descriptions_that_name_the_patient_in_any_way(tmp_path, tags, description, kept):
    made = slices(
        volume((3, 4, 5)), SeriesDescription=description, SpecificCharacterSet="ISO_IR 192", **tags
    )
    save_series(tmp_path / "study", made)
    other = slices(volume((3, 4, 5)), SeriesDescription="other", SeriesNumber=7)
    save_series(tmp_path / "study" / "b", other)
    found = next(
        one for one in series_of_folder(tmp_path / "study") if one.headers[0].number == "3"
    )
    assert found.description == (description if kept else "")
    assert found.name == ("study_3_" + description if kept else "study_3")
