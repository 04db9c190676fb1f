"""The journal: what was painted is on the disk within a second, whatever happens to the process."""

import errno
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.errors import LDSegError
from napari_ldseg.project import case as case_module
from napari_ldseg.project import journal
from napari_ldseg.project.case import Masks
from napari_ldseg.scans.scan import Scan

SHAPE = (6, 20, 30)
CLASSES = [ClassInfo(name=n, colour="#ff0000") for n in ("background", "a", "b", "c")]
KILL = Path(__file__).parents[2] / "benchmarks" / "journal_kill.py"


@pytest.fixture
def recorded(record):
    """Factory: an array, by default of zeros, that is recorded in a new case as ``record`` returns it."""
    return lambda start=None: record(np.zeros(SHAPE, np.uint8) if start is None else start, CLASSES)


def paint(array, recorder, where, value):
    array[where] = value
    recorder.touch(array, painted=True)


def test_records_replay_to_the_same_arrays(tmp_path):
    rng = np.random.default_rng(1)
    label, edited = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
    path = tmp_path / "journal"
    size = journal.begin(path, SHAPE)
    for _ in range(30):
        indices = np.flatnonzero(rng.random(label.size) < 0.1)
        values, flags = rng.integers(0, 4, len(indices)), rng.random(len(indices)) < 0.5
        label.reshape(-1)[indices], edited.reshape(-1)[indices] = values, flags
        size = journal.append(path, size, journal.encode(indices, values, flags))
    changes = list(journal.read(path, SHAPE))
    assert len(changes) == 30 and size == path.stat().st_size
    replayed, marks = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
    for change in changes:
        change.apply(replayed, marks)
    np.testing.assert_array_equal(replayed, label)
    np.testing.assert_array_equal(marks, edited)


def test_every_cut_and_every_flipped_byte_leaves_a_valid_prefix(tmp_path):
    path = tmp_path / "journal"
    size = header = journal.begin(path, SHAPE)
    ends = [header]
    for value in range(1, 6):
        indices = np.arange(value * 50, value * 50 + 40)
        record = journal.encode(indices, np.full(40, value), np.ones(40, bool))
        size = journal.append(path, size, record)
        ends.append(size)
    intact = path.read_bytes()
    for cut in range(header, size):
        path.write_bytes(intact[:cut])
        changes = list(journal.read(path, SHAPE))
        assert len(changes) == ends.index(max(e for e in ends if e <= cut))
    for position in range(header, size, 3):
        broken = bytearray(intact)
        broken[position] ^= 0x55
        path.write_bytes(broken)
        changes = list(journal.read(path, SHAPE))
        assert [int(c.labels[0]) for c in changes] == list(range(1, len(changes) + 1))
        assert len(changes) < 5 and ends[len(changes) + 1] > position


def test_append_overwrites_what_a_failed_attempt_left(tmp_path):
    path = tmp_path / "journal"
    size = journal.begin(path, SHAPE)
    one = journal.encode(np.array([3]), np.array([1]), np.array([True]))
    path.write_bytes(path.read_bytes() + one[:9])
    size = journal.append(path, size, one)
    assert size == path.stat().st_size and len(list(journal.read(path, SHAPE))) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"PK\x03\x04",
        b'{"LDSeg journal": 1}\n',
        b'{"LDSeg journal": 1, "shape": [1e999]}\n',
    ],
)
def test_a_foreign_file_is_no_journal(tmp_path, content, assert_sentence):
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(LDSegError) as error:
        list(journal.read(tmp_path / "journal", SHAPE))
    assert_sentence(error, "journal")


def test_a_record_beyond_the_grid_is_dropped_before_it_is_expanded(tmp_path):
    path = tmp_path / "journal"
    size = journal.begin(path, SHAPE)
    beyond = np.arange(np.prod(SHAPE) - 2, np.prod(SHAPE) + 2)
    journal.append(path, size, journal.encode(beyond, np.ones(4, int), np.ones(4, bool)))
    assert list(journal.read(path, SHAPE)) == []


def test_a_journal_for_another_grid_is_refused_before_it_is_expanded(
    project, recorded, assert_sentence
):
    """Some bytes of a journal may stand for as many voxels as they like: the label's shape decides."""
    array, recorder, _ = recorded()
    paint(array, recorder, (0, 0, 0), 1)
    recorder.flush()
    (case,) = project.cases()
    runs = struct.pack("<IqIq?", 1, 0, 4_000_000_000, 1, True)
    payload = zlib.compress(runs)
    crc = zlib.crc32(payload, zlib.crc32(struct.pack("<d", 0)))
    size = journal.begin(case.journal, (2**31, 4))
    journal.append(case.journal, size, journal.HEAD.pack(len(payload), crc, 0) + payload)
    with pytest.raises(LDSegError) as error:
        case.load()
    assert_sentence(error, "journal", str(SHAPE), "(2147483648, 4)")


@pytest.mark.parametrize("value", [300, -1])
def test_a_value_beyond_the_type_of_the_label_is_kept(project, recorded, value):
    array, recorder, _ = recorded()
    paint(array, recorder, (0, 0, 0), 1)
    recorder.flush()
    (case,) = project.cases()
    assert case.load().label.dtype == np.uint8
    record = journal.encode(np.arange(3), np.full(3, value), np.ones(3, bool))
    journal.append(case.journal, case.journal.stat().st_size, record)
    assert case.load().label[0, 0, :4].tolist() == [value] * 3 + [0]


def test_painting_creates_the_case_and_reaches_the_disk_within_a_second(project, recorded):
    array, recorder, _ = recorded()
    paint(array, recorder, (2, slice(3, 8), slice(4, 9)), 2)
    deadline = time.monotonic() + 1
    while not project.unsaved() and time.monotonic() < deadline:
        time.sleep(0.02)
    recorder.flush()
    (case,) = project.unsaved()
    masks = case.load()
    np.testing.assert_array_equal(masks.label, array)
    assert masks.edited.sum() == 25 and masks.edited[2, 3:8, 4:9].all()
    assert case.journal.stat().st_size < 300


def test_a_stroke_costs_bytes_not_voxels(project, recorded):
    array, recorder, _ = recorded()
    for row in range(10):
        paint(array, recorder, (1, row, slice(2, 12)), 1)
        recorder.flush()
    (case,) = project.cases()
    assert case.journal.stat().st_size < 10 * 120


def test_undo_takes_the_edited_mark_back_but_painting_back_by_hand_keeps_it(recorded):
    start = np.zeros(SHAPE, np.uint8)
    start[0] = 1
    array, recorder, _ = recorded(start)
    paint(array, recorder, (0, 0, slice(0, 5)), 2)
    recorder.flush()
    array[0, 0, :5] = 1
    recorder.touch(array, painted=False)
    recorder.flush()
    assert not recorder.masks().edited.any()
    paint(array, recorder, (0, 1, slice(0, 5)), 2)
    recorder.flush()
    paint(array, recorder, (0, 1, slice(0, 5)), 1)
    recorder.flush()
    assert recorder.masks().edited.sum() == 5
    paint(array, recorder, (0, 1, slice(0, 5)), 3)
    recorder.flush()
    array[0, 1, :5] = 1
    recorder.touch(array, painted=False)
    recorder.flush()
    assert recorder.masks().edited.sum() == 5


def test_an_update_by_a_model_is_no_edit_and_undoing_it_is_none_either(recorded):
    array, recorder, _ = recorded()
    paint(array, recorder, (1, 1, slice(0, 4)), 2)

    def update():
        array[3, :, :] = 3
        recorder.touch(array, painted=True)
        return array

    recorder.take_update(update)
    recorder.flush()
    masks = recorder.masks()
    assert masks.edited.sum() == 4 and (masks.label[3] == 3).all()
    for value in (0, 3):
        array[3] = value
        recorder.touch(array, painted=False)
        recorder.flush()
        assert recorder.masks().edited.sum() == 4
        assert (recorder.masks().label[3] == value).all()


def test_closing_saves_and_drops_the_journal_and_a_restart_goes_on(project, recorded):
    array, recorder, _ = recorded()
    paint(array, recorder, (2, 2, slice(0, 9)), 3)
    assert recorder.close()
    (case,) = project.cases()
    assert not case.journal.exists() and not project.unsaved()
    masks = case.load()
    np.testing.assert_array_equal(masks.label, array)
    assert masks.edited.sum() == 9 and case.record().edited_voxels == 9
    assert case.record().state == "edited"


def test_a_discarded_journal_stays_beside_the_label(project, recorded):
    array, recorder, _ = recorded()
    paint(array, recorder, (2, 2, slice(0, 9)), 3)
    recorder.flush()
    (case,) = project.unsaved()
    discarded = case.discard_journal()
    assert discarded.exists() and not project.unsaved() and not case.load().label.any()


def test_edits_wait_in_memory_while_the_disk_is_full(
    project, recorded, monkeypatch, assert_sentence
):
    array, recorder, problems = recorded()
    paint(array, recorder, (0, 0, slice(0, 3)), 1)
    recorder.flush()
    full = OSError(errno.ENOSPC, "No space left on device")
    honest = os.write

    def torn(handle, data):
        if len(data) > 20:
            honest(handle, data[:13])
            raise full
        return honest(handle, data)

    monkeypatch.setattr(journal.os, "write", torn)
    for row in range(1, 5):
        paint(array, recorder, (0, row, slice(0, 3)), 2)
        recorder.flush()
    assert_sentence(problems[-1], "scan", "No space left on device", "kept in memory")
    (case,) = project.unsaved()
    assert case.load().edited.sum() == 3
    monkeypatch.undo()
    deadline = time.monotonic() + 10
    while recorder.problem and time.monotonic() < deadline:
        time.sleep(0.05)
    assert problems[-1] is None
    np.testing.assert_array_equal(case.load().label, array)


def test_dev_full_is_a_full_disk(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError) as error:
        journal.append(Path("/dev/full"), 0, b"x")
    assert error.value.errno in (errno.ENOSPC, errno.EINVAL)


def test_edits_survive_a_disconnected_drive(project, recorded, tmp_path, assert_sentence):
    array, recorder, problems = recorded()
    paint(array, recorder, (0, 0, slice(0, 3)), 1)
    recorder.flush()
    away = tmp_path / "unplugged"
    project.folder.rename(away)
    paint(array, recorder, (1, 0, slice(0, 3)), 1)
    recorder.flush()
    assert_sentence(problems[-1], "scan", "kept in memory")
    assert not project.folder.exists()
    away.rename(project.folder)
    deadline = time.monotonic() + 10
    while recorder.problem and time.monotonic() < deadline:
        time.sleep(0.05)
    assert recorder.close()
    np.testing.assert_array_equal(project.cases()[0].load().label, array)


def test_a_lost_journal_is_replaced_by_the_complete_label(project, recorded):
    array, recorder, _ = recorded()
    paint(array, recorder, (0, 0, slice(0, 3)), 1)
    recorder.flush()
    (case,) = project.cases()
    case.journal.unlink()
    paint(array, recorder, (0, 1, slice(0, 3)), 1)
    recorder.flush()
    np.testing.assert_array_equal(case.load().label, array)
    assert case.load().edited.sum() == 6


def test_a_full_disk_while_saving_leaves_the_old_label_and_the_journal(
    project, recorded, monkeypatch
):
    array, recorder, problems = recorded()
    paint(array, recorder, (0, 0, slice(0, 3)), 1)
    recorder.flush()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_ldseg.utils.atomic.os.replace", full)
    recorder.mark_reviewed((slice(None),) * 3, True)
    recorder.flush()
    assert "No space left" in problems[-1]
    (case,) = project.unsaved()
    np.testing.assert_array_equal(case.load().label, array)
    assert not list(case.folder.glob(".*"))
    monkeypatch.undo()
    assert recorder.close() and case.record().state == "reviewed" and not case.journal.exists()


def test_a_crash_between_label_and_masks_does_not_part_them(project, recorded, monkeypatch):
    array, recorder, _ = recorded()
    paint(array, recorder, (0, 0, slice(0, 3)), 1)
    recorder.flush()
    honest = case_module.write_like

    def only_the_label(path, *rest):
        if path.name != "label.nii.gz":
            raise OSError(errno.EIO, "killed here")
        return honest(path, *rest)

    monkeypatch.setattr(case_module, "write_like", only_the_label)
    array[1, 1, :4] = 2
    recorder.save()
    recorder.touch(array, painted=True)
    recorder.flush()
    masks = project.cases()[0].load()
    np.testing.assert_array_equal(masks.label, array)
    np.testing.assert_array_equal(masks.edited, array != 0)


@pytest.mark.slow
def test_killing_the_writer_at_random_moments_loses_at_most_the_last_second(tmp_path):
    done = subprocess.run(
        [sys.executable, str(KILL), "--kills", "6", "--longest", "2", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(KILL.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6" in done.stdout


def test_a_journal_of_another_case_is_refused(project, assert_sentence):
    scan = Scan(np.zeros(SHAPE, np.int16), name="scan")
    masks = Masks.untouched(np.zeros(SHAPE, np.uint8))
    one, two = (project.add_case(name, scan, None, CLASSES, masks) for name in ("one", "two"))
    size = one.begin_journal(SHAPE)
    journal.append(one.journal, size, journal.encode(np.arange(50), np.ones(50), np.ones(50)))
    two.journal.write_bytes(one.journal.read_bytes())
    with pytest.raises(LDSegError) as error:
        two.load()
    assert_sentence(error, str(two.journal), "another case")
    moved = one.folder.rename(one.folder.with_name("renamed"))
    assert project.case(moved.name).load().label.sum() == 50


def test_a_journal_without_a_case_is_replayed(project):
    """Journals of earlier versions do not name their case."""
    scan = Scan(np.zeros(SHAPE, np.int16), name="scan")
    case = project.add_case("one", scan, None, CLASSES, Masks.untouched(np.zeros(SHAPE, np.uint8)))
    line = b'{"LDSeg journal": 1, "shape": [6, 20, 30]}\n'
    case.journal.write_bytes(line)
    journal.append(case.journal, len(line), journal.encode(np.arange(5), np.ones(5), np.ones(5)))
    assert case.load().label.sum() == 5


@pytest.mark.parametrize("value", [2**40 + 1, 2**31, -(2**31) - 1])
def test_a_value_that_no_label_can_have_is_refused(project, value, assert_sentence):
    scan = Scan(np.zeros(SHAPE, np.int16), name="scan")
    case = project.add_case("one", scan, None, CLASSES, Masks.untouched(np.zeros(SHAPE, np.uint8)))
    size = case.begin_journal(SHAPE)
    record = journal.encode(np.arange(3), np.full(3, value), np.ones(3))
    journal.append(case.journal, size, record)
    with pytest.raises(LDSegError) as error:
        case.load()
    assert_sentence(error, str(value), "journal")
