"""The dataset.json of nnU-Net 1 and 2 and of the Decathlon: paths, values with gaps, regions, "ignore"."""

import json

import nibabel as nib
import numpy as np
import pytest

from napari_ldseg.datasets.description import read_description
from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.datasets.slices import read_counted
from napari_ldseg.errors import LDSegError
from napari_ldseg.project.exchange import import_from
from napari_ldseg.project.labelled_cases import find_labelled_cases

SHAPE = (5, 6, 7)


@pytest.fixture
def data_set(tmp_path):
    """Factory: an nnU-Net folder with one case of ``channels`` files; returns folder and label."""

    def make(values, description, channels=1, kind=np.int16):
        folder, rng = tmp_path / "data", np.random.default_rng(0)
        label = rng.choice(np.array(values, kind), SHAPE)
        files = {f"imagesTr/p1_{i:04d}": rng.random(SHAPE).astype("f4") for i in range(channels)}
        for name, array in {**files, "labelsTr/p1": label}.items():
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 2, 3, 1])), path)
        content = json.dumps(description)
        (folder / "dataset.json").write_text(content, encoding="utf-8")
        return folder, label

    return make


def on_display_axes(folder):
    """Return the label as it is read, with the values of its file."""
    (case,) = find_cases(
        DataSettings(folder=folder, layout="folder", images="labelsTr", labels=("labelsTr",))
    )
    return case.read_label()


@pytest.mark.parametrize("channels", [1, 2])
def test_nnunet_1_names_files_without_their_channel(data_set, channels):
    pair = {"image": "./imagesTr/p1.nii.gz", "label": "./labelsTr/p1.nii.gz"}
    described = {"labels": {"0": "background", "1": "lesion"}, "training": [pair]}
    folder, label = data_set([0, 1], described, channels)
    (case,) = find_cases(DataSettings(folder=folder))
    scan, found = case.read()
    assert scan.channel_count == channels and found.sum() == label.sum()


def test_paths_of_windows(data_set):
    pair = {"image": "imagesTr\\p1_0000.nii.gz", "label": ".\\labelsTr\\p1.nii.gz"}
    folder, label = data_set([0, 1], {"training": [pair]})
    (case,) = find_cases(DataSettings(folder=folder))
    assert case.read_label().sum() == label.sum()
    pair["image"] = "..\\data\\..\\..\\x.nii.gz"
    (folder / "dataset.json").write_text(json.dumps({"training": [pair]}))
    with pytest.raises(LDSegError, match="outside"):
        find_cases(DataSettings(folder=folder))


BRATS = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing": 4}


def test_values_with_gaps_become_dense_classes(data_set, project, assert_sentence):
    folder, _ = data_set([0, 1, 2, 4], {"labels": BRATS})
    raw = on_display_axes(folder)
    cases, _ = find_labelled_cases(DataSettings(folder=folder), list(BRATS))
    np.testing.assert_array_equal(cases[0].read_label(), np.where(raw == 4, 3, raw))
    assert cases[0].read_reviewed is None
    with pytest.raises(LDSegError) as error:
        find_labelled_cases(DataSettings(folder=folder), [*BRATS, "unused"])
    assert_sentence(error, "dataset.json", "enhancing", "5")
    assert import_from(project, folder).done == 1
    masks = project.cases()[0].load()
    assert [c.name for c in project.record.classes] == list(BRATS)
    np.testing.assert_array_equal(masks.label, np.where(raw == 4, 3, raw))
    assert masks.reviewed.all()


def test_a_value_in_a_gap_is_refused(data_set, project):
    folder, _ = data_set([0, 1, 3, 4], {"labels": BRATS})
    (case,) = find_cases(DataSettings(folder=folder))
    with pytest.raises(LDSegError, match="value 3"):
        case.read_label()
    outcome = import_from(project, folder)
    assert outcome.done == 0 and "value 3" in outcome.left_out[0]


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "tumour": 1, "ignore": 2},
        {"0": "background", "1": "tumour", "2": "Ignore"},
        {"background": 0, "tumour": 1, "void": 2},
    ],
)
def test_what_is_ignored_is_labelled_by_nobody(data_set, project, labels):
    folder, _ = data_set([0, 1, 2], {"labels": labels})
    raw = on_display_axes(folder)
    (case,), _ = find_labelled_cases(DataSettings(folder=folder), ["background", "tumour"])
    np.testing.assert_array_equal(case.read_label(), raw == 1)
    np.testing.assert_array_equal(case.read_reviewed(), raw != 2)
    np.testing.assert_array_equal(read_counted(case).reviewed, raw != 2)
    assert import_from(project, folder).done == 1
    masks = project.cases()[0].load()
    assert [c.name for c in project.record.classes] == ["background", "tumour"]
    np.testing.assert_array_equal(masks.label, raw == 1)
    np.testing.assert_array_equal(masks.reviewed, raw != 2)


@pytest.mark.parametrize("labels", [{"background": 0, "a": 1}, {"background": 0, "a": 1, "b": 5}])
def test_negative_values_are_labelled_by_nobody(data_set, project, labels):
    folder, _ = data_set([-1, 0, 1], {"labels": labels})
    raw = on_display_axes(folder)
    assert import_from(project, folder).done == 1
    masks = project.cases()[0].load()
    np.testing.assert_array_equal(masks.label, raw == 1)
    np.testing.assert_array_equal(masks.reviewed, raw >= 0)


def test_regions_are_named(data_set, project, assert_sentence):
    labels = {"background": 0, "whole tumour": [1, 2], "core": 2}
    folder, _ = data_set([0, 1, 2], {"labels": labels})
    with pytest.raises(LDSegError) as error:
        import_from(project, folder)
    assert_sentence(error, "dataset.json", "whole tumour", "region")
    (case,) = find_cases(DataSettings(folder=folder))  # the configuration names the values
    assert case.read_label().max() == 2


@pytest.mark.parametrize(
    "labels",
    [
        3,
        {},
        {"a": 1},
        {"a": 0, "b": 0},
        {"0": "a", "1": "a"},
        {"a": 0, "b": None},
        {"a": 0, "b": -1},
        {"ignore": 0, "a": 1},
        {"void": 0, "a": 1},
    ],
)
def test_labels_that_name_no_classes(tmp_path, labels, assert_sentence):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(LDSegError) as error:
        read_description(tmp_path).classes()
    assert_sentence(error, "dataset.json")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"training": [{"image": 1}]}', '{"training": 3}']
)
def test_descriptions_that_are_none(tmp_path, content, assert_sentence):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(LDSegError) as error:
        read_description(tmp_path)
    assert_sentence(error, "dataset.json")


def test_a_description_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "dataset.json").write_bytes("\ufeff".encode() + b'{"labels": {"b\xc3\xa9": 0}}')
    assert read_description(tmp_path).classes() == {0: "bé"}


def test_a_label_value_that_is_described_twice_is_refused(tmp_path, assert_sentence):
    # JSON keeps the last one, so a class would be lost without a word.
    text = '{"labels": {"0": "background", "1": "anterior", "1": "posterior"}}'
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(LDSegError) as error:
        read_description(tmp_path)
    assert_sentence(error, "dataset.json", "key 1 twice")
