"""Label values: any 16-bit value may have a class, and a negative one says that nobody labelled the voxel."""

import json

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.errors import LDSegError
from napari_ldseg.project.case import Masks, unnamed_value
from napari_ldseg.project.exchange import export, import_from
from napari_ldseg.project.folder import Project
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.project.schema import values_of
from napari_ldseg.scans.scan import Scan

SHAPE = (4, 6, 10)
BACKGROUND = ClassInfo(name="background", colour="#000000")
SPARSE = {
    0: BACKGROUND,
    17: ClassInfo(name="hippocampus", colour="#ff0000"),
    1035: ClassInfo(name="insula", colour="#00ff00"),
}
DENSE = {0: BACKGROUND, 1: ClassInfo(name="a", colour="#ff0000")}


def sparse_label():
    label = np.zeros(SHAPE, np.int32)
    label[1], label[2] = 17, 1035
    return label


def test_values_far_above_255_are_kept_and_trained_on(project, record, tmp_path):
    array, recorder, problems = record(sparse_label(), SPARSE)
    array[3, 0] = 1035
    recorder.touch(array, painted=True)
    assert recorder.flush() and not problems
    recorder.sign_off("me", "now")
    assert recorder.finish_writing() and not problems
    (case,) = project.cases()
    record = case.record()
    assert record.names == {0: "background", 17: "hippocampus", 1035: "insula"}
    assert [c.name for c in project.record.classes] == ["background", "hippocampus", "insula"]
    assert project.classes_of(record) == SPARSE and record.unnamed_value is None
    np.testing.assert_array_equal(case.load().label, array)
    names = ["background", "insula", "hippocampus"]
    (found,), _ = find_labelled_cases(DataSettings(folder=project.folder), names)
    expected = np.select([array == 17, array == 1035], [2, 1])
    np.testing.assert_array_equal(found.read_label(), expected)
    assert export(project, tmp_path / "out", "Decathlon").done == 1
    other = Project(tmp_path / "other", create=True)
    import_from(other, tmp_path / "out")
    expected = np.select([array == 17, array == 1035], [1, 2])
    np.testing.assert_array_equal(other.cases()[0].load().label, expected)
    other.close()


def test_records_of_earlier_versions_are_read(project):
    scan = Scan(np.zeros(SHAPE, np.int16))
    case = project.add_case("one", scan, None, DENSE, Masks.untouched(np.zeros(SHAPE, np.uint8)))
    content = json.loads(case.file("case.json").read_text(encoding="utf-8"))
    for new in ("numbers", "identity"):
        assert content.pop(new) is None or new == "identity"
    case.file("case.json").write_text(json.dumps(content), encoding="utf-8")
    assert case.record().names == {0: "background", 1: "a"}


@pytest.mark.parametrize("numbers", [[0], [1, 2], [0, 0], [2, 0], [0, 65536]])
def test_wrong_numbers_of_classes_are_refused(project, numbers, assert_sentence):
    scan = Scan(np.zeros(SHAPE, np.int16))
    case = project.add_case("one", scan, None, DENSE, Masks.untouched(np.zeros(SHAPE, np.uint8)))
    content = json.loads(case.file("case.json").read_text(encoding="utf-8")) | {"numbers": numbers}
    case.file("case.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LDSegError) as error:
        case.record()
    assert_sentence(error, "case.json")


@pytest.mark.parametrize("many", [False, True])
def test_what_cannot_be_kept_is_reported_and_waits_in_memory(
    project, record, many, assert_sentence
):
    values = range(1, 1001) if many else [70_000]
    classes = {v: ClassInfo(name=f"label {v}", colour="#ff0000") for v in values}
    array, recorder, problems = record(np.zeros(SHAPE, np.int32), classes)
    array[0] = 1
    recorder.touch(array, painted=True)
    recorder.flush()
    assert len(problems) == 1
    assert_sentence(problems[0], "scan", "Edit classes", "memory", "up to")
    assert (recorder.masks().label == array).all() and project.cases() == []


def test_a_project_never_gets_more_classes_than_it_can_read_again(project):
    many = [ClassInfo(name=f"label {i}", colour="#ff0000") for i in range(600)]
    project.add_classes(many)
    with pytest.raises(LDSegError, match="up to 1000"):
        project.add_classes([c.model_copy(update={"name": f"x{c.name}"}) for c in many])
    assert len(Project.for_reading(project.folder).record.classes) == 600


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([0, 1, 2], None),
        ([0, 3], 3),
        ([17, 1035], 1035),
        ([-1, 0], None),
        ([-1, 9, 4], 9),
        ([], None),
    ],
)
def test_the_value_without_a_class(label, expected):
    assert unnamed_value(np.array(label, np.int32), range(3)) == expected
    assert unnamed_value(np.array(label, np.int32), (2, 0, 1)) == expected


def test_a_value_in_a_gap_has_no_class():
    assert unnamed_value(np.array([0, 17, 5], np.uint16), SPARSE) == 5
    assert values_of({})["values"] == ("background",)


def test_voxels_that_nobody_labelled_are_never_reviewed(project, record):
    label = np.zeros(SHAPE, np.int16)
    label[0], label[2, 2:4] = -1, 1
    array, recorder, problems = record(label, DENSE)
    recorder.mark_reviewed((slice(0, 2),), True)
    assert recorder.masks().reviewed.sum() == 60
    recorder.sign_off("me", "now")
    assert recorder.finish_writing() and not problems
    (case,) = project.cases()
    record = case.record()
    assert record.sign_off is not None and record.reviewed_voxels == 180
    assert record.unnamed_value is None
    np.testing.assert_array_equal(case.load().reviewed, label >= 0)
    # Written again without a change, the label stays signed.
    recorder.save()
    assert recorder.finish_writing() and case.record().sign_off is not None
    (found,), split = find_labelled_cases(DataSettings(folder=project.folder), ["background", "a"])
    assert [*split.training, *split.validation] == ["scan"]
    np.testing.assert_array_equal(found.read_label(), label == 1)
    np.testing.assert_array_equal(found.read_reviewed(), label >= 0)
    array[3, 0, 0] = -1
    recorder.touch(array, painted=False)
    recorder.flush()
    assert recorder.masks().reviewed.sum() == 179


def test_a_negative_value_that_counts_as_reviewed_is_refused(project):
    """An earlier version marked such voxels as reviewed."""
    scan, label = Scan(np.zeros(SHAPE, np.int16)), np.zeros(SHAPE, np.int16)
    case = project.add_case("one", scan, None, DENSE, Masks.untouched(label))
    label[0] = -1
    case.save(case.grid(), Masks(label, label > 0, label > -2))
    case.change(reviewed_voxels=label.size)
    assert case.load().reviewed.sum() == 180
    (found,), _ = find_labelled_cases(DataSettings(folder=project.folder), ["background", "a"])
    with pytest.raises(LDSegError, match="-1"):
        found.read_label()


def test_data_of_other_dimensions_stop_the_record_with_one_sentence(
    project, record, monkeypatch, assert_sentence
):
    monkeypatch.setattr("napari_ldseg.project.recorder.SECONDS_BETWEEN_RETRIES", 0.01)
    array, recorder, problems = record(np.zeros(SHAPE, np.uint8), DENSE)
    array[0] = 1
    recorder.touch(array, painted=True)
    recorder.flush()
    writes, write = [], recorder._write
    monkeypatch.setattr(recorder, "_write", lambda: (writes.append(1), write()))
    recorder.touch(np.zeros((3, 3), np.uint8), painted=False)
    recorder.flush()
    assert len(problems) == 1
    assert_sentence(problems[0], "scan", "(3, 3)", "undo")
    before = len(writes)
    recorder._thread.join(0.2)
    assert len(writes) == before, "it goes on trying"
    with pytest.raises(LDSegError):
        recorder.mark_reviewed((slice(0, 1),), True)
    assert recorder.finish_writing() and len(problems) == 1
    assert project.cases()[0].load().label.sum() == 60
    array[1] = 1
    recorder.touch(array, painted=False)
    recorder.flush()
    assert problems[1:] == [None] and recorder.finish_writing()
    assert project.cases()[0].load().label.sum() == 120


def test_a_painted_value_that_no_file_holds_is_reported_at_once(project, record, assert_sentence):
    array, recorder, problems = record(np.zeros(SHAPE, np.int64), DENSE)
    array[0] = 1
    recorder.touch(array, painted=True)
    recorder.flush()
    array[1, 0] = 2**40
    recorder.touch(array, painted=True)
    recorder.flush()
    assert_sentence(problems[0], "scan", "1099511627776", "undo")
    assert project.cases()[0].load().label.sum() == 60
    array[1, 0] = 1
    recorder.touch(array, painted=False)
    recorder.flush()
    assert problems[1:] == [None] and recorder.finish_writing()
    assert project.cases()[0].load().label.sum() == 70
