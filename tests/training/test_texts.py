"""Configurations and logs as text: keys that stand twice, and names in either Unicode form."""

import unicodedata

import numpy as np
import pytest
from skimage.io import imsave

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.datasets.description import read_description
from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.datasets.split import read_split
from napari_ldseg.errors import LDSegError
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.config import read_config
from napari_ldseg.training.log import COLUMNS, read_log

COMPOSED = "cellulés"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
CONFIG = "name: a\ndata: {folder: n}\nclasses: [background, nucleus]\ngrid: {size: [64, 64]}\n"


@pytest.mark.parametrize(
    "text", [CONFIG + "name: b\n", CONFIG.replace("n}", "n, seed: 1, seed: 2}")]
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, assert_sentence):
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LDSegError) as error:
        read_config(tmp_path / "c.yaml")
    assert_sentence(error, "c.yaml", "twice", "name" if "b\n" in text else "seed")


def test_classes_are_compared_in_one_form(tmp_path):
    assert ClassInfo(name=DECOMPOSED, colour="#ff0000").name == COMPOSED
    (tmp_path / "c.yaml").write_text(CONFIG.replace("nucleus", DECOMPOSED), encoding="utf-8")
    assert read_config(tmp_path / "c.yaml").classes[1].name == COMPOSED


def test_images_and_labels_in_different_forms_belong_together(tmp_path):
    for folder, name in (("images", COMPOSED), ("labels", DECOMPOSED)):
        (tmp_path / folder).mkdir()
        imsave(tmp_path / folder / f"{name}.png", np.eye(8, dtype=np.uint8), check_contrast=False)
    (case,) = find_cases(DataSettings(folder=tmp_path))
    assert case.name == COMPOSED and case.read_label().sum() == 8
    (tmp_path / "s.json").write_text(
        f'{{"training": ["{DECOMPOSED}"], "validation": []}}', encoding="utf-8"
    )
    assert read_split(tmp_path / "s.json").cases("training", [case]) == [case]


def test_patients_and_cases_are_compared_in_one_form(tmp_path):
    project = Project(tmp_path / "p", create=True)
    scan, label = Scan(np.zeros((4, 4), np.int16)), np.zeros((4, 4), np.uint8)
    masks = Masks(label, label > 0, label == 0)
    classes = [ClassInfo(name="background", colour="#000000")]
    names = [
        project.add_case(name, scan, None, classes, masks, patient=name).name
        for name in (COMPOSED, DECOMPOSED)
    ]
    assert names == [COMPOSED, f"{COMPOSED}-2"]
    assert {record.patient for record in project.records().values()} == {COMPOSED}
    (tmp_path / "p" / "cases" / COMPOSED).rename(tmp_path / "p" / "cases" / DECOMPOSED)
    cases, split = find_labelled_cases(DataSettings(folder=tmp_path / "p"), ["background"])
    assert COMPOSED in {case.name for case in cases}
    assert set(names) == {*split.training, *split.validation}
    project.close()


@pytest.mark.parametrize("kind", ["configuration", "split", "dataset.json"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_named(tmp_path, kind, encoding, assert_sentence):
    text, read = {
        "configuration": (CONFIG.replace("nucleus", COMPOSED), read_config),
        "split": (f'{{"training": ["{COMPOSED}"],\r\n"validation": []}}', read_split),
        "dataset.json": (
            f'{{"labels": {{"background": 0, "{COMPOSED}": 1}}}}',
            lambda path: read_description(path.parent),
        ),
    }[kind]
    path = tmp_path / "dataset.json"
    path.write_bytes(text.encode(encoding))
    if encoding == "utf-8-sig":
        assert read(path)
        return
    with pytest.raises(LDSegError) as error:
        read(path)
    assert_sentence(error, "dataset.json", "save it as UTF-8")


def test_a_log_changed_by_another_program_is_read(tmp_path):
    row = ",".join("1" for _ in COLUMNS)
    lines = f"{','.join(COLUMNS)}\r\n{row}\r\nnotes\r\n{row.replace('1', 'x')}\r\n{row}\r\n"
    (tmp_path / "log.csv").write_bytes(lines.encode("utf-8-sig"))
    assert [row["update"] for row in read_log(tmp_path / "log.csv")] == [1, 1]


def test_a_log_with_foreign_bytes_is_read(tmp_path):
    row = ",".join("1" for _ in COLUMNS)
    (tmp_path / "log.csv").write_bytes(f"{','.join(COLUMNS)},x\n{row},\xe9\n".encode("latin-1"))
    assert read_log(tmp_path / "log.csv")[0]["update"] == 1


def test_a_configuration_of_deep_brackets_is_refused_at_once(tmp_path, assert_sentence):
    (tmp_path / "c.yaml").write_text(f"{CONFIG}channels: {'[' * 60_000}", encoding="utf-8")
    with pytest.raises(LDSegError) as error:
        read_config(tmp_path / "c.yaml")
    assert_sentence(error, "c.yaml", "brackets")


@pytest.mark.parametrize("value", ["1.5", "1e999"])
def test_a_label_value_that_is_not_whole_is_refused(tmp_path, value, assert_sentence):
    text = f'{{"labels": {{"background": 0, "tumour": {value}}}, "training": []}}'
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(LDSegError) as error:
        read_description(tmp_path).classes()
    assert_sentence(error, "dataset.json")
