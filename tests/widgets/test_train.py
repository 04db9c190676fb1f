"""Training in a real window with the real process: choosing, following, deciding, closing, resuming."""

import json
import os
import signal
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QMessageBox

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.file import save_checkpoint
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.errors import LDSegError
from napari_ldseg.finetuning import launch, process
from napari_ldseg.finetuning.comparison import CaseChange, Comparison, read_comparison
from napari_ldseg.finetuning.config import FineTuningConfig, write_config
from napari_ldseg.finetuning.plan import SelectableCase
from napari_ldseg.project.case import CaseFolder, Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.training.run_folder import PAUSE, RunFolder, Status
from napari_ldseg.utils.locking import FolderLock
from napari_ldseg.widgets.common.style import PROMINENT
from napari_ldseg.widgets.project.state import project_of
from napari_ldseg.widgets.train.cases import TrainingCases
from napari_ldseg.widgets.train.model_tree import ModelTree
from napari_ldseg.widgets.train.state import training_of

from ..discs import disc
from ..forked import served
from .conftest import click, paint_at, result_layer

DISC = (ClassInfo(name="background", colour="#000000"), ClassInfo(name="disc", colour="#ff0000"))
RING = ClassInfo(name="ring", colour="#00ff00")
PATIENTS = 10


@pytest.fixture
def project(tmp_path):
    """A project of ten reviewed discs of ten patients, two of them held out, on the disk."""
    made = Project(tmp_path / "project", create=True)
    for i in range(PATIENTS):
        scan, label = disc(2, i)
        masks = Masks(label, np.zeros(label.shape, bool), np.ones(label.shape, bool))
        made.add_case(f"patient{i:02d}", scan, None, DISC, masks)
    made.close()
    return made


@pytest.fixture
def base(tiny_checkpoint, tmp_path):
    """Untrained networks with the project's classes."""
    checkpoint = tiny_checkpoint(name="tiny", classes=2)
    metadata = checkpoint.metadata.model_copy(update={"classes": DISC})
    checkpoint = type(checkpoint)(metadata, checkpoint.model)
    return save_checkpoint(checkpoint, tmp_path / "tiny.safetensors")


@pytest.fixture
def short(monkeypatch):
    """Cut every training short; the number of updates can be set."""
    wanted = {"updates": 6, "device": "cpu"}

    def start(config):
        return launch.start(config.model_copy(update=wanted))

    monkeypatch.setattr("napari_ldseg.widgets.train.state.start", start)
    return wanted


@pytest.fixture
def served_runs(monkeypatch):
    """Let runs start without loading torch; a test from Start to the end does without this."""

    def spawn(folder):
        served(process.main, folder, output=folder / "process.log")

    monkeypatch.setattr(launch, "_spawn", spawn)


@pytest.fixture
def dock(qtbot, project, viewer, short):
    """Factory: dock the Train widget as a user does; ends what was started at the end of the test."""

    def make(viewer=viewer):
        _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
        qtbot.waitUntil(widget.isVisible, timeout=5000)
        return widget

    yield make
    training_of(viewer).project.window_guard.questions.clear()
    for run in launch.runs(project.folder):
        with suppress(OSError, TypeError):
            pid, _ = FolderLock(run.folder).owner()
            if run.alive and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def trainer(dock, base):
    """The docked Train widget with the tiny model chosen."""
    widget = dock()
    widget.setup.model.choose(base)
    return widget


def phase(widget):
    return widget.state.status and widget.state.status.phase


def wait_for(qtbot, widget, *phases, timeout=120_000):
    def there():
        assert phase(widget) in phases or not (widget.state.status and widget.state.status.ended), (
            widget.state.status
        )
        return phase(widget) in phases

    qtbot.waitUntil(there, timeout=timeout)


def write_run(project, base, status, comparison=None, name="tiny-2"):
    """Put a run into the project as its process left it."""
    folder = project.folder / "training" / f"2026-01-01-000000-{name}"
    folder.mkdir(parents=True)
    cases = tuple(sorted(project.records()))
    config = FineTuningConfig(
        project=project.folder, base=base, name=name, classes=DISC, cases=cases
    )
    write_config(folder, config)
    RunFolder(folder).write_status(status)
    if comparison is not None:
        (folder / "comparison.json").write_text(comparison.model_dump_json())
    return folder


def compared(gains, base="tiny"):
    """A comparison of one case of each patient, with these gains."""
    changes = [
        CaseChange(case=f"case {i}", patient=f"p{i}", before=(0.5,), after=(0.5 + gain,))
        for i, gain in enumerate(gains)
    ]
    return Comparison(base=base, name="tiny-2", classes=("disc",), changes=tuple(changes))


@pytest.fixture
def new_model(project, tiny_checkpoint, base):
    """A model of the project, a child of the base, as a training leaves it."""
    checkpoint = tiny_checkpoint(name="tiny-2")
    from napari_ldseg.utils.hashing import sha256_of

    metadata = checkpoint.metadata.model_copy(update={"classes": DISC, "parent": sha256_of(base)})
    path = project.folder / "models" / "tiny-2.safetensors"
    return save_checkpoint(type(checkpoint)(metadata, checkpoint.model), path)


def rows(table):
    return [
        tuple(table.item(row, column).text() for column in range(table.columnCount()))
        for row in range(table.rowCount())
    ]


def answer(button):
    """Press the button labelled ``button`` of the next question; return a list with the question."""
    asked = []

    def look():
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(20, look)
            return
        asked.append(f"{box.text()} {box.informativeText()}")
        click(next(b for b in box.buttons() if b.text().replace("&", "") == button))

    QTimer.singleShot(20, look)
    return asked


def test_cases_are_listed_with_their_role_and_why_not(qtbot, viewer, project, dock, base):
    opened = Project(project.folder)
    scan, label = disc(2, 50)
    opened.add_case("fresh", scan, None, DISC, Masks.untouched(label))
    ringed = Masks(label, np.zeros(label.shape, bool), np.ones(label.shape, bool))
    opened.add_case("ringed", scan, None, (*DISC, RING), ringed)
    half = ringed.reviewed.copy()
    half[:8] = False
    opened.add_case("half", scan, None, DISC, Masks(label, ringed.edited, half))
    opened.close()
    widget = dock()
    widget.setup.model.choose(base)
    widget.setup.classes.setCurrentIndex(0)
    table = widget.setup.cases.table
    found = {row[0]: row[1:] for row in rows(table)}
    records = project.records()
    held_out = [n for n in records if n.startswith("p") and records[n].split == "validation"]
    assert len(found) == PATIENTS + 3 and all(found[n] == ("held out", "100 %") for n in held_out)
    assert found["half"][1] == "50 %" and found["fresh"] == ("not usable", "–")
    assert found["ringed"][0] == "not usable"
    tips = {table.item(i, 0).text(): table.item(i, 0).toolTip() for i in range(table.rowCount())}
    assert "Nothing is reviewed yet" in tips["fresh"] and "the class ring" in tips["ringed"]
    assert "2 cases cannot be used" in widget.setup.cases.summary.text()
    # The project's classes can be trained instead of the model's; then the case takes part.
    assert widget.setup.classes.itemText(1) == "the project's: disc, ring"
    widget.setup.classes.setCurrentIndex(1)
    found = {row[0]: row[1:] for row in rows(table)}
    assert found["ringed"][0] in ("training", "held out")


def test_cases_of_one_long_name_differ_in_a_scrolled_list(qtbot):
    cases = TrainingCases()
    qtbot.addWidget(cases)
    cases.setFixedWidth(240)
    names = [f"patient{i:04d}_4CH_{phase}" for i in range(6) for phase in ("ED", "ES")]
    cases.show_candidates([SelectableCase(n, "patient0003", "training", 1.0, 1, "") for n in names])
    cases.show()
    table = cases.table
    table.clearSelection()
    rows = [table.visualRect(table.model().index(row, 0)) for row in (0, 1)]
    first, second = (table.viewport().grab(rect).toImage() for rect in rows)
    assert first != second
    assert table.item(1, 0).toolTip().startswith(names[1])
    assert "All are of the patient patient0003" in cases.summary.text()


def test_it_is_shown_what_is_missing_and_how_long_it_takes(qtbot, trainer):
    setup = trainer.setup
    assert setup.start.isEnabled() and not setup.reason.isVisible()
    for button in setup.paces.values():
        assert "about" in button.text()
    table = setup.cases.table
    for row in range(table.rowCount()):
        box = table.visualItemRect(table.item(row, 0))
        QTest.mouseClick(
            table.viewport(),
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            QPoint(box.left() + 10, box.center().y()),
        ) if box.bottom() < table.viewport().height() else table.item(row, 0).setCheckState(
            Qt.CheckState.Unchecked
        )
    assert setup.cases.chosen == [] and not setup.start.isEnabled()
    assert setup.reason.text() == "Check at least one training case."


@pytest.mark.parametrize("frames", [1, 5], ids=["image", "loop"])
def test_it_starts_from_a_model_with_the_classes_of_the_cases(
    viewer, short, project, base, tmp_path, frames
):
    """The first bundled model in the list would have its classes replaced without any message."""
    classes = read_metadata(bundled_checkpoints()["echo-phantom"]).classes
    scan, label = disc(2, 0)
    if frames > 1:
        scan, label = replace(scan, array=np.stack([scan.array] * 5)), np.stack([label] * 5)
    whole = Masks(label, np.zeros(label.shape, bool), np.ones(label.shape, bool))
    made = Project(tmp_path / "echo", create=True)
    made.add_case("echo", scan, None, (*classes, RING), whole).change(split="training")
    made.close()
    project_of(viewer).choose(tmp_path / "echo")
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
    setup = widget.setup
    assert setup.model.combo.currentText() == "echo-phantom"
    assert setup.reason.text() == "New to the model: ring."
    setup.model.choose(base)
    assert "New to the model: ventricle, myocardium, atrium, ring." in setup.reason.text()
    assert "No longer in the new model: disc." in setup.reason.text() and setup.start.isEnabled()
    setup.scratch.setChecked(True)
    assert not setup.reason.isVisible()
    setup.scratch.setChecked(False)
    setup.model.choose(bundled_checkpoints()["mri-phantom"])
    if frames > 1:
        assert setup.start.isEnabled()
        return
    assert "the model is 3D" in setup.reason.text() and not setup.start.isEnabled()
    setup.scratch.setChecked(True)
    assert setup.start.isEnabled(), "without a model nothing has to be 3D"


def test_an_empty_project_shows_what_to_do_first(viewer, short, base):
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
    assert not widget.setup.start.isEnabled()
    assert "no cases yet" in widget.setup.reason.text()


def test_from_start_to_the_adopted_model(qtbot, viewer, trainer, widget, project, base):
    """One training by clicks: pause, continue, the outcome, use, and back to the old model."""
    segment = widget
    held_out = [c.name for c in trainer.setup.cases.chosen if c.split == "validation"]
    assert trainer.setup.name.placeholderText() == "tiny-2"
    trainer.setup.start.click()
    wait_for(qtbot, trainer, "training", "before", "preparing")
    assert trainer.progress.isVisibleTo(trainer) and not trainer.setup.isVisibleTo(trainer)
    trainer.progress.pause.click()
    wait_for(qtbot, trainer, "paused")
    assert trainer.progress.pause.text() == "Continue"
    qtbot.waitUntil(trainer.progress.pause.isEnabled, timeout=5000)
    trainer.progress.pause.click()
    wait_for(qtbot, trainer, "finished")
    assert not trainer.progress.curves._full.isNull()
    assert trainer.outcome.isVisibleTo(trainer)
    compared = read_comparison(trainer.state.run.folder / "comparison.json")
    assert sorted(row[0] for row in rows(trainer.outcome.table)) == sorted(held_out)
    shown = {row[0]: row[1:3] for row in rows(trainer.outcome.table)}
    for change in compared.changes:
        before, after = change.means
        assert shown[change.case] == (f"{before:.3f}", f"{after:.3f}")
    assert trainer.outcome.verdict.text().startswith("Too few to tell: 2 cases")
    made = project.folder / "models" / "tiny-2.safetensors"
    assert segment.model.path != made, "adopted without the user's decision"
    trainer.outcome.use.click()
    assert segment.model.combo.itemText(0) == "tiny-2 (this project)"
    assert segment.model.path == trainer.setup.model.path == made
    assert trainer.setup.isVisibleTo(trainer) and not trainer.outcome.isVisibleTo(trainer)
    assert trainer.setup.name.placeholderText() == "tiny-3"
    # Back to the model that it came from.
    trainer.models.click()
    tree = trainer.findChild(ModelTree)
    qtbot.waitUntil(lambda: tree.tree.topLevelItemCount() == 1, timeout=10_000)
    root = tree.tree.topLevelItem(0)
    assert root.text(0) == "tiny" and root.child(0).text(0) == "tiny-2"
    assert root.child(0).text(4) == "in use" and root.child(0).text(3) == "too few cases"
    root.setSelected(True)
    click(tree.use)
    assert segment.model.path == base
    qtbot.waitUntil(lambda: tree.tree.topLevelItem(0).text(4) == "in use", timeout=10_000)
    tree.close()


@pytest.mark.usefixtures("served_runs")
def test_a_reviewed_slice_of_a_loop_takes_part_in_a_2d_model(qtbot, project, base, dock):
    opened = Project(project.folder)
    for i in range(2):
        images = [disc(2, 20 + i + j) for j in range(4)]
        scan = replace(images[0][0], array=np.stack([s.array for s, _ in images]), name=f"loop{i}")
        label = np.stack([one for _, one in images])
        reviewed = np.zeros(label.shape, bool)
        reviewed[1] = True
        masks = Masks(label, np.zeros(label.shape, bool), reviewed)
        case = opened.add_case(scan.name, scan, None, DISC, masks)
        case.change(split="validation" if i else "training")
    opened.close()
    trainer = dock()
    trainer.setup.model.choose(base)
    shown = {row[0]: row[1:] for row in rows(trainer.setup.cases.table)}
    assert shown["loop0"] == ("training", "25 %") and shown["loop1"] == ("held out", "25 %")
    assert trainer.setup.start.isEnabled()
    trainer.setup.start.click()
    wait_for(qtbot, trainer, "finished")
    assert "loop1" in {row[0] for row in rows(trainer.outcome.table)}


@pytest.mark.parametrize(
    ("gains", "words", "advice"),
    [
        ([0.1, 0.2] * 4, "Better: mean DSC 0.500 before, 0.650 after, on 8 held-out cases", "use"),
        ([-0.1, -0.2] * 4, "Worse", "keep"),
        ([0.1, -0.1] * 4, "No clear change", "keep"),
        ([0.1, 0.2], "Too few to tell: 2 cases", None),
        ([], "No case was held out", "keep"),
    ],
)
def test_the_recommended_button_stands_out(project, new_model, base, dock, gains, words, advice):
    status = Status(phase="finished", text="tiny-2 is ready.", checkpoint=new_model)
    write_run(project, base, status, compared(gains))
    outcome = dock().outcome
    assert outcome.isVisible() and outcome.verdict.text().startswith(words)
    assert (outcome.use.styleSheet() == PROMINENT) == (advice == "use")
    assert (outcome.keep.styleSheet() == PROMINENT) == (advice == "keep")
    changes = [float(row[3].replace("−", "-")) for row in rows(outcome.table)]
    assert not gains or "disc: 0.500 before" in outcome.table.item(0, 0).toolTip()
    assert changes == sorted(gains), "the worst is not first"


def test_cases_without_a_change_are_listed_last(project, new_model, base, dock):
    status = Status(phase="finished", text="tiny-2 is ready.", checkpoint=new_model)
    absent = [CaseChange(case=n, patient=n, before=(None,), after=(None,)) for n in ("x", "y")]
    both = compared([0.1])
    both = both.model_copy(update={"changes": (*absent, *both.changes)})
    write_run(project, base, status, both)
    outcome = dock().outcome
    assert [row[3] for row in rows(outcome.table)] == ["+0.100", "–", "–"]


def test_keeping_the_old_model_is_remembered(qtbot, viewer, project, new_model, base, dock):
    status = Status(phase="finished", text="tiny-2 is ready.", checkpoint=new_model)
    write_run(project, base, status, compared([0.1]))
    widget = dock()
    click(widget.outcome.keep)
    assert widget.setup.isVisible() and "stays in use" in widget.status.text()
    (decision,) = json.loads((project.folder / "models" / "adopted.json").read_text())["decisions"]
    assert not decision["used"] and decision["model"] == "models/tiny-2.safetensors"
    widget.state.find_run()
    assert widget.setup.isVisible() and widget.state.model_in_use is None


@pytest.mark.parametrize("button", ["use", "keep"])
def test_a_new_model_that_is_gone_blocks_nothing(project, new_model, base, dock, button):
    status = Status(phase="finished", text="tiny-2 is ready.", checkpoint=new_model)
    write_run(project, base, status, compared([0.1]))
    widget = dock()
    new_model.unlink()
    click(getattr(widget.outcome, button))
    assert "has been moved" in widget.status.text() or "tiny-2" in widget.status.text()
    assert widget.setup.isVisible() and not widget.outcome.isVisible()


@pytest.mark.parametrize(
    ("end", "words", "button"),
    [
        (Status(phase="training", update=3, updates=9), "was ended from outside", "Resume"),
        (Status(phase="stopped", text="Stopped.", update=3, updates=9), "Stopped.", "Resume"),
        (Status(phase="failed", text="The disk is full."), "The disk is full.", "Try again"),
    ],
)
def test_a_run_that_ended_early_can_be_discarded(project, base, dock, end, words, button):
    folder = write_run(project, base, end)
    widget = dock()
    assert widget.halted.isVisible() and words in widget.halted.text.text()
    assert widget.halted.first.text() == button
    assert ("3 of 9 updates" in widget.halted.text.text()) == bool(end.updates)
    click(widget.halted.second)
    assert not folder.exists() and widget.setup.isVisible() and not widget.halted.isVisible()


def close_by_hand(viewer):
    """Close the window as its close button does; then let napari forget the viewer."""
    window = viewer.window._qt_window
    window.close()
    assert not window.isVisible()
    viewer.close()


def test_a_script_that_closes_its_viewer_is_not_asked(viewer, project, base, dock):
    folder = write_run(project, base, Status(phase="training", text="Learning.", updates=9))
    lock = FolderLock(folder)
    assert lock.acquire()
    try:
        assert dock().progress.isVisible()
        viewer.close()
        assert not (folder / "stop").exists()
    finally:
        lock.release()


def test_closing_asks_and_cancel_keeps_the_window(qtbot, viewer, project, base, dock):
    status = Status(phase="training", text="Learning.", update=3, updates=9, seconds_left=200)
    folder = write_run(project, base, status)
    lock = FolderLock(folder)
    assert lock.acquire()
    try:
        dock()
        asked = answer("Cancel")
        viewer.window._qt_window.close()
        assert viewer.window._qt_window.isVisible() and not (folder / "stop").exists()
        assert "tiny-2 is being trained: about 3 min left." in asked[0]
    finally:
        lock.release()


def test_keep_training_ends_a_pause(viewer, project, base, dock):
    """Nobody would be there to press Continue."""
    folder = write_run(project, base, Status(phase="paused", text="Paused.", update=3, updates=9))
    (folder / PAUSE).touch()
    lock = FolderLock(folder)
    assert lock.acquire()
    try:
        dock()
        asked = answer("Keep training")
        close_by_hand(viewer)
        assert "tiny-2 is paused." in asked[0] and not (folder / PAUSE).exists()
    finally:
        lock.release()


@pytest.mark.usefixtures("served_runs")
def test_stop_and_resume_later_is_true(
    qtbot, viewer, trainer, short, make_napari_viewer, project, base, dock
):
    short["updates"] = 100_000
    click(trainer.setup.start)
    qtbot.waitUntil(
        lambda: bool(trainer.state.status and trainer.state.status.update), timeout=120_000
    )
    asked = answer("Stop and resume later")
    close_by_hand(viewer)
    assert asked
    (run,) = launch.runs(project.folder)
    qtbot.waitUntil(lambda: run.status().phase == "stopped", timeout=60_000)
    done = run.status().update
    second = make_napari_viewer(show=True)
    widget = dock(second)
    assert widget.halted.isVisible() and widget.halted.first.text() == "Resume"
    click(widget.halted.first)
    qtbot.waitUntil(
        lambda: widget.state.active and widget.state.status.update > done, timeout=120_000
    )
    # Keep training: the process outlives the window.
    answer("Keep training")
    close_by_hand(second)
    qtbot.wait(500)
    assert run.alive and not (run.folder / "stop").exists()
    third = make_napari_viewer(show=True)
    again = dock(third)
    assert again.progress.isVisible()
    click(again.progress.cancel)
    wait_for(qtbot, again, "stopped")
    assert again.halted.isVisible()


@pytest.mark.usefixtures("served_runs")
def test_strokes_are_on_the_disk_when_the_training_begins(
    qtbot, viewer, trainer, project, monkeypatch
):
    project_of(viewer).open_case("patient00")
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=10_000)
    labels = result_layer(viewer, "labels")
    value = 1 - int(labels.data[1, 1])
    paint_at(viewer, labels, (1, 1), value)
    found = []

    def start(config):
        saved = CaseFolder(project.folder / "cases" / "patient00")
        found.append((saved.load().label[1, 1], saved.journal.exists(), config))
        raise LDSegError("That is enough of it.")

    monkeypatch.setattr("napari_ldseg.widgets.train.state.start", start)
    trainer.setup.start.click()
    qtbot.waitUntil(lambda: trainer.status.text() == "That is enough of it.", timeout=10_000)
    ((painted, journal, config),) = found
    assert painted == value and not journal
    assert len(config.cases) == PATIENTS and config.name == "tiny-2"
    assert trainer.setup.isVisibleTo(trainer) and trainer.setup.isEnabled()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny-2", "already has a model named tiny-2"),
        ("../tiny", "letters, digits"),
        ("Adopted", "decisions"),
    ],
)
def test_an_impossible_name_is_reported(trainer, new_model, name, words, assert_sentence):
    trainer.setup.name.setText(name)
    click(trainer.setup.start)
    assert_sentence(trainer.status.text(), words)
    assert trainer.state.run is None


def test_a_project_that_is_open_elsewhere_is_reported(viewer, short, project, base):
    other = Project(project.folder)
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
    assert not widget.setup.start.isEnabled()
    assert "open in another window" in widget.setup.reason.text()
    other.close()


def test_models_are_compared_and_exported(
    qtbot, viewer, project, new_model, base, dock, tmp_path, monkeypatch
):
    write_run(project, base, Status(phase="finished", checkpoint=new_model), compared([0.1]))
    widget = dock()
    click(widget.outcome.keep)
    click(widget.models)
    tree = widget.findChild(ModelTree)
    qtbot.waitUntil(lambda: tree.tree.topLevelItemCount() == 1, timeout=10_000)
    root = tree.tree.topLevelItem(0)
    root.child(0).setSelected(True)
    out = str(tmp_path / "out.safetensors")
    monkeypatch.setattr(
        "napari_ldseg.widgets.train.model_tree.QFileDialog.getSaveFileName",
        lambda *a, **k: (out, ""),
    )
    click(tree.export)
    qtbot.waitUntil(lambda: tree.status.text().startswith("Exported"), timeout=10_000)
    assert read_metadata(out).name == "tiny-2"
    assert not tree.compare.isEnabled()
    root.setSelected(True)
    click(tree.compare)
    assert tree.status.text() == "No difference between these models is recorded."
    tree.close()


def test_the_adopted_model_is_offered_first_after_a_restart(viewer, project, new_model, base, dock):
    widget = dock()
    widget.state.use(new_model)
    _, segment = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    assert segment.model.combo.itemText(0) == "tiny-2 (this project)"
    assert segment.model.path == new_model
    image = viewer.add_image((255 * disc(2, 90)[0].array.clip(0, 1)).astype(np.uint8))
    assert segment.image.value is image and segment.model.path == new_model
    widget.state.use(bundled_checkpoints()["echo-phantom"])
    assert segment.model.combo.currentText() == "echo-phantom"
    assert "(this project)" not in segment.model.combo.itemText(0)


def test_what_to_annotate_next_opens_by_a_double_click(qtbot, viewer, project, dock, base):
    opened = Project(project.folder)
    for i in range(3):
        scan, label = disc(2, 70 + i)
        opened.add_case(f"fresh{i}", scan, None, DISC, Masks.untouched(label))
    opened.close()
    widget = dock()
    widget.setup.model.choose(base)
    part = widget.suggestions
    click(part.search)
    assert part.cancel.isVisible() and not part.search.isVisible()
    qtbot.waitUntil(part.list.isVisible, timeout=60_000)
    names = [part.list.item(i).data(Qt.ItemDataRole.UserRole) for i in range(part.list.count())]
    assert sorted(names) == ["fresh0", "fresh1", "fresh2"]
    assert "expected Dice" in part.list.item(0).text() and part.search.isEnabled()
    part.list.itemDoubleClicked.emit(part.list.item(0))
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=10_000)
    assert viewer.layers[0].name.startswith(names[0])


def test_the_search_can_be_cancelled(qtbot, viewer, project, dock, base, monkeypatch):
    import threading

    go = threading.Event()

    def rank(checkpoint, project, names, known, on_case):
        for _ in names:
            go.wait(10)
            on_case()
        return []

    opened = Project(project.folder)
    scan, label = disc(2, 70)
    opened.add_case("fresh", scan, None, DISC, Masks.untouched(label))
    opened.close()
    monkeypatch.setattr("napari_ldseg.finetuning.ranking.rank", rank)
    widget = dock()
    widget.setup.model.choose(base)
    part = widget.suggestions
    click(part.search)
    click(part.cancel)
    go.set()
    qtbot.waitUntil(part.search.isVisible, timeout=20_000)
    assert not part.list.isVisible() and not widget.status.isVisible()


def test_a_click_shows_the_plot_large(qtbot, project, new_model, base, dock):
    from PIL import Image

    status = Status(phase="finished", text="tiny-2 is ready.", checkpoint=new_model)
    folder = write_run(project, base, status, compared([0.1]))
    Image.new("RGB", (600, 200), "red").save(folder / "comparison.png")
    plot = dock().outcome.plot
    qtbot.waitUntil(plot.isVisible, timeout=5000)
    qtbot.waitUntil(lambda: abs(plot.height() - plot.width() / 3) <= 1, timeout=2000)
    click(plot)
    dialog = plot.findChild(QDialog)
    assert dialog.isVisible() and dialog.width() == 600
    dialog.close()
