"""Fine-tuning a project's corrected cases: the real process on real folders, with tiny networks."""

import os
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import BASELINES, ClassInfo, Grid, TrainingRecord
from napari_ldseg.errors import LDSegError
from napari_ldseg.finetuning import launch, process
from napari_ldseg.finetuning.case_snapshot import (
    content_hash,
    predict_unreviewed,
    read_snapshot,
    snapshot_cases,
)
from napari_ldseg.finetuning.comparison import CaseChange, Comparison, read_comparison
from napari_ldseg.finetuning.config import FineTuningConfig, write_config
from napari_ldseg.finetuning.launch import FineTuningRun, active, runs, start
from napari_ldseg.finetuning.plan import (
    expected_seconds,
    selectable_cases,
    settings_for,
    suggest_model_name,
)
from napari_ldseg.finetuning.ranking import rank
from napari_ldseg.inference.symmetry import symmetries
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.files import read_scan
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.run_folder import RunFolder, Status
from napari_ldseg.utils.locking import FolderLock

from ..discs import disc
from ..forked import forked

DISC = (ClassInfo(name="background", colour="#000000"), ClassInfo(name="disc", colour="#ff0000"))
RING = ClassInfo(name="ring", colour="#00ff00")


def masks_of(label, reviewed=True):
    return Masks(label, np.zeros(label.shape, bool), np.full(label.shape, reviewed))


def project_of(folder, count=10, change=lambda i, scan, masks: masks):
    """A project of discs of as many patients; two of ten are held out."""
    made = Project(folder, create=True)
    for i in range(count):
        scan, label = disc(2, i)
        made.add_case(f"patient{i:02d}", scan, None, DISC, change(i, scan, masks_of(label)))
    made.close()
    return made


@pytest.fixture
def project(tmp_path):
    return project_of(tmp_path / "project")


@pytest.fixture
def base(tiny_checkpoint, tmp_path):
    """Untrained networks that know the project's classes."""
    checkpoint = tiny_checkpoint()
    described = checkpoint.metadata.model_copy(update={"classes": DISC})
    return save_checkpoint(replace(checkpoint, metadata=described), tmp_path / "tiny.safetensors")


@pytest.fixture
def forked_runs(one_thread, monkeypatch):
    """Let runs start in forks of this process."""

    def spawn(folder):
        with (folder / "process.log").open("ab") as log:
            forked(process.main, folder, output=log.fileno())

    monkeypatch.setattr(launch, "_spawn", spawn)


def config_for(project, base, **changes):
    fields = {
        "project": project.folder,
        "base": base,
        "name": "tiny-2",
        "classes": DISC,
        "cases": tuple(sorted(project.records())),
        "device": "cpu",
        "updates": 6,
    }
    return FineTuningConfig(**fields | changes)


def wait(run, *phases, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = run.status()
        if status.phase in phases:
            return status
        assert not status.ended, status
        time.sleep(0.02)
    raise AssertionError(f"still {run.status()}")


def here(config):
    """Do a run's work in this process; return its folder and last status."""
    folder = config.project / "training" / "run"
    folder.mkdir(parents=True)
    write_config(folder, config)
    RunFolder(folder).write_status(Status(phase="starting"))
    process.main(folder)
    (run,) = (run for run in runs(config.project) if run.folder == folder)
    return folder, run.status()


@pytest.mark.slow
def test_a_run_makes_a_new_model_beside_the_old(project, base):
    before = base.read_bytes()
    run = start(config_for(project, base))
    with pytest.raises(LDSegError, match="is being trained"):
        start(config_for(project, base))
    status = wait(run, "finished")
    assert base.read_bytes() == before
    assert status.checkpoint == project.folder / "models" / "tiny-2.safetensors"
    made, old = load_checkpoint(status.checkpoint), load_checkpoint(base)
    assert made.metadata.parent == old.sha256
    assert made.metadata.training.parent_name == old.metadata.name
    assert made.metadata.calibration is None and made.metadata.training.trained
    held_out = {name for name, r in project.records().items() if r.split == "validation"}
    assert held_out and set(made.metadata.training.cases) == set(project.records()) - held_out
    found = read_comparison(run.folder / "comparison.json")
    assert {change.case for change in found.changes} == held_out
    assert all(len(change.before) == len(change.after) == 1 for change in found.changes)
    for name in ("curves.png", "preview.png", "comparison.png"):
        assert (run.folder / name).read_bytes().startswith(b"\x89PNG"), name
    assert not (run.folder / "state.pt").exists(), "nothing is left to go on with"
    assert active(project.folder) is None
    assert suggest_model_name(project.folder, "tiny") == "tiny-3"
    settings = settings_for("quick", made.metadata, old.metadata)
    assert expected_seconds(project.folder, made.metadata, settings, 2) > 0


def test_retraining_keeps_the_symmetries_that_the_label_maps_use(tiny_metadata):
    settings = {"augmentation.flip_axes": "[0, 1]", "augmentation.rotation": "1.6"}
    record = TrainingRecord(data="none", licence="none", split="none", settings=settings)
    base = tiny_metadata(training=record)
    kept = settings_for("quick", base, base).augmentation
    assert kept.flip_axes == (0, 1) and kept.rotation == 1.6
    none = tiny_metadata()
    assert settings_for("quick", none, none).augmentation.flip_axes == ()


@pytest.mark.parametrize("axes", ["[Infinity]", "{", "3", "[[0]]", "[" * 5000, '["x"]', "[7, -1]"])
def test_a_training_record_that_says_nothing_useful_has_no_symmetries(tiny_metadata, axes):
    settings = {"augmentation.flip_axes": axes, "augmentation.rotation": "nan"}
    record = TrainingRecord(data="none", licence="none", split="none", settings=settings)
    assert record.mirrored_axes(2) == () and record.rotation == 0
    assert len(symmetries(tiny_metadata(training=record), (16, 16))) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("forked_runs", "without_plots")
def test_killed_and_resumed_gives_the_same_model(project, base, tmp_path):
    """As an uninterrupted run, although a case disappears from the project meanwhile."""
    twin = shutil.copytree(project.folder, tmp_path / "twin")
    config = config_for(project, base, updates=40, pace="quick")
    run = start(config)
    while run.status().update < 22:
        assert not run.status().ended, run.status()
        time.sleep(0.01)
    # Nobody waits for the process, as in the window: it stays behind as a zombie.
    os.kill(FolderLock(run.folder).owner()[0], signal.SIGKILL)
    wait(run, "killed", seconds=20)
    assert not run.alive
    shutil.rmtree(project.folder / "cases" / "patient03")
    run.resume()
    resumed = wait(run, "finished")
    other = wait(start(config.model_copy(update={"project": twin})), "finished")
    one, two = (load_checkpoint(s.checkpoint).model.state_dict() for s in (resumed, other))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.usefixtures("without_plots")
def test_a_run_killed_while_it_writes_the_model_makes_one_model(
    project, base, written, monkeypatch
):
    """Its own is known again; one of that name that came meanwhile stays as it is."""
    from napari_ldseg.finetuning import retrain

    def killed(checkpoint, path):
        if written:
            save_checkpoint(checkpoint, path)
        raise KeyboardInterrupt

    config = config_for(project, base, updates=2)
    with monkeypatch.context() as ended, pytest.raises(KeyboardInterrupt):
        ended.setattr(retrain, "save_checkpoint", killed)
        here(config)
    models = project.folder / "models"
    if not written:
        shutil.copy(base, models / "tiny-2.safetensors")
    before = (models / "tiny-2.safetensors").read_bytes()
    (run,) = runs(project.folder)
    assert run.status().phase == "killed"
    assert process.main(run.folder) == 0
    made = "tiny-2" if written else "tiny-2 (2)"
    assert run.status().checkpoint == models / f"{made}.safetensors"
    assert {path.stem for path in models.glob("*.safetensors")} == {"tiny-2", made}
    assert (models / "tiny-2.safetensors").read_bytes() == before
    found = read_comparison(run.folder / "comparison.json")
    assert found == read_comparison(models / f"{made}.json") and found.changes


@pytest.mark.slow
@pytest.mark.usefixtures("forked_runs")
def test_paused_stopped_and_resumed(project, base):
    run = start(config_for(project, base, updates=400))
    wait(run, "training")
    run.pause()
    paused = wait(run, "paused")
    time.sleep(1.0)
    assert run.status().update == paused.update
    run.unpause()
    while run.status().update <= paused.update:
        assert not run.status().ended
        time.sleep(0.02)
    run.stop()
    stopped = wait(run, "stopped")
    assert 0 < stopped.update < 400
    run.discard()
    assert not run.folder.exists() and runs(project.folder) == []


def assert_unreviewed_counts_for_nothing(clean, base, tmp_path):
    """A copy of the project whose labels differ wherever nobody has looked gives the same model."""
    spoilt = Project.for_reading(shutil.copytree(clean.folder, tmp_path / "spoilt"))
    rng = np.random.default_rng(0)
    for folder in spoilt.cases():
        masks = folder.load()
        garbage = rng.integers(0, 2, masks.label.shape).astype(np.uint8)
        label = np.where(masks.reviewed, masks.label, garbage)
        assert not np.array_equal(label, masks.label)
        folder.save(folder.grid(), replace(masks, label=label))
    weights = []
    for project in (clean, spoilt):
        _, status = here(config_for(project, base))
        assert status.phase == "finished", status
        weights.append(load_checkpoint(status.checkpoint).model.state_dict())
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_garbage_outside_the_reviewed_mask_changes_nothing(tmp_path, base):
    def half(i, scan, masks):
        reviewed = np.zeros(masks.label.shape, bool)
        reviewed[:, : 8 + i % 3] = True
        return replace(masks, reviewed=reviewed)

    clean = project_of(tmp_path / "clean", change=half)
    assert_unreviewed_counts_for_nothing(clean, base, tmp_path)


def test_the_rest_of_a_partly_reviewed_case_is_the_base_s_prediction(tmp_path, base):
    def corner(i, scan, masks):
        reviewed = np.zeros(masks.label.shape, bool)
        reviewed[:4, :4] = True
        return replace(masks, label=np.ones_like(masks.label), reviewed=reviewed)

    project = project_of(tmp_path / "project", change=corner)
    snapshot = tmp_path / "snapshot"
    snapshot_cases(project.folder, sorted(project.records()), snapshot)
    training, validation = read_snapshot(snapshot, ["background", "disc"])
    hashes = [content_hash(case, case.read_scan()) for case in training]
    model = load_checkpoint(base)
    predict_unreviewed([*training, *validation], model, ["background", "disc"], lambda: None)
    from napari_ldseg import segment

    for case in training:
        scan, label = case.read()
        predicted = segment(model, scan, 1, steps=model.metadata.label_steps).labels
        assert label[:4, :4].all() and np.array_equal(label[4:], predicted[4:])
    assert len(set(hashes)) == len(hashes)


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_new_classes_from_a_base_and_from_scratch(tmp_path, base):
    project = Project(tmp_path / "project", create=True)
    for i in range(10):
        scan, label = disc(2, i)
        project.add_case(f"p{i:02d}", scan, None, (*DISC, RING), masks_of(label * (1 + i % 2)))
    project.close()
    classes = (*DISC, RING)
    found = selectable_cases(project, ["background", "disc"], 2)
    assert all("ring" in one.problem for one in found)
    assert not any(one.problem for one in selectable_cases(project, [c.name for c in classes], 2))
    folder, status = here(config_for(project, base, classes=classes))
    assert status.phase == "finished", status
    made = load_checkpoint(status.checkpoint)
    assert [c.name for c in made.metadata.classes] == ["background", "disc", "ring"]
    change = read_comparison(folder / "comparison.json").changes[0]
    assert change.before[1] is None and change.after[1] is None
    shutil.rmtree(folder)
    _, status = here(config_for(project, None, classes=classes, name="own", updates=2))
    assert status.phase == "finished", status
    assert load_checkpoint(status.checkpoint).metadata.parent is None


@pytest.mark.parametrize("networks", BASELINES)
def test_a_baseline_without_diffusion_is_not_retrained(
    tmp_path, project, tiny_metadata, assert_sentence, networks
):
    widths = (12, 12, 24, 48, 96, 192)
    metadata = tiny_metadata(
        networks=networks,
        grid={"size": (64, 64)},
        architecture={"image_widths": widths, "label_widths": widths},
    )
    metadata = metadata.model_copy(update={"classes": DISC})
    unet = Checkpoint(metadata, build_model(metadata))
    baseline = save_checkpoint(unet, tmp_path / "unet.safetensors")
    _, status = here(config_for(project, baseline))
    assert status.phase == "failed"
    assert_sentence(status.text, "without diffusion")


AXES_SWAPPED = np.array([[0.7, 0, 0.1, 5], [0.1, 0, 1.1, -9], [0, 2.0, 0, 3], [0, 0, 0, 1]], float)


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False], ids=["random weights", "base"])
def test_oblique_volumes_of_several_sizes(tmp_path, tiny_checkpoint, own):
    """Also with axes in another order than the grid's, and the largest one held out."""
    project = Project(tmp_path / "project", create=True)
    for i in range(4):
        scan, label = disc(3, i)
        pads = (0, 4), (2 * i, 0), (0, 9)
        array, label = np.pad(scan.array, pads), np.pad(label, pads)
        scan = Scan(array, AXES_SWAPPED, calibrated=True, name=f"volume {i}")
        case = project.add_case(scan.name, scan, None, DISC, masks_of(label))
        case.change(split="validation" if i == 3 else "training")
    project.close()
    base = None
    if not own:
        checkpoint = tiny_checkpoint(3, grid=Grid(spacing=(2.0, 1.1, 0.7), minimum_size=(12,) * 3))
        described = checkpoint.metadata.model_copy(update={"classes": DISC})
        base = save_checkpoint(replace(checkpoint, metadata=described), tmp_path / "b.safetensors")
    folder, status = here(config_for(project, base, updates=2))
    assert status.phase == "finished", status
    grid = load_checkpoint(status.checkpoint).metadata.grid
    assert np.allclose(grid.spacing, (2.0, 1.1, 0.7), atol=0.02)
    assert grid.minimum_size[0] >= 18 and grid.minimum_size[1] >= 21
    (change,) = read_comparison(folder / "comparison.json").changes
    assert change.case == "volume 3" and change.after[0] is not None


def test_gradients_that_become_nan_are_reported(project, base, monkeypatch, assert_sentence):
    from napari_ldseg.training import loop

    class Broken(loop.Objective):
        def forward(self, **batch):
            terms = super().forward(**batch)
            terms.total.register_hook(lambda gradient: gradient * float("nan"))
            return terms

    monkeypatch.setattr(loop, "Objective", Broken)
    _, status = here(config_for(project, base))
    assert status.phase == "failed"
    assert_sentence(status.text, "became NaN")


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda p, r: r.model_copy(update={"cases": ("patient99",)}), "patient99"),
        (lambda p, r: r.model_copy(update={"classes": (DISC[0], RING)}), "disc"),
        (lambda p, r: r.model_copy(update={"base": p.folder / "gone.safetensors"}), "gone"),
        (lambda p, r: r.model_copy(update={"device": "cuda:9"}), "cuda:9"),
        (lambda p, r: r.model_copy(update={"cases": _held_out(p)}), "training case"),
        (lambda p, r: _empty(p) or r, "disc"),
        (lambda p, r: _change_image(p) or r, "image"),
    ],
    ids=["case gone", "other class", "base gone", "device", "no training case", "empty", "image"],
)
@pytest.mark.usefixtures("without_plots")
def test_what_cannot_be_trained_is_one_sentence(project, base, spoil, words, assert_sentence):
    _, status = here(spoil(project, config_for(project, base)))
    assert status.phase == "failed"
    assert_sentence(status.text, words)
    assert not (project.folder / "models").exists()


def _held_out(project):
    return tuple(name for name, r in project.records().items() if r.split == "validation")


def _empty(project):
    for case in project.cases():
        masks = case.load()
        case.save(case.grid(), masks_of(np.zeros_like(masks.label)))


def _change_image(project):
    next(iter(sorted(project.folder.glob("cases/*/image*")))).write_bytes(b"nothing")


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_what_fails_during_a_run_is_reported_and_can_be_resumed(
    project, base, monkeypatch, assert_sentence
):
    """Whatever failed, and however often: the run is taken up again where it failed."""
    from napari_ldseg.finetuning import retrain

    errors = [
        (OSError(28, "No space left on device"), "disk is full"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "Out of memory"),
        (MemoryError(), "Out of memory"),
        (LDSegError("The loss became NaN after 3 updates."), "became NaN"),
        (ValueError("odd"), "ValueError"),
    ]
    left = iter(errors)

    def fail(*args, **kwargs):
        raise next(left)[0]

    with monkeypatch.context() as broken:
        broken.setattr(retrain, "train", fail)
        folder, status = here(config_for(project, base))
        assert status.phase == "failed"
        assert_sentence(status.text, errors[0][1])
        for _, words in errors[1:]:
            assert process.main(folder) == 1
            status = RunFolder(folder).status()
            assert status.phase == "failed"
            assert_sentence(status.text, words)
    assert process.main(folder) == 0
    assert (project.folder / "models" / "tiny-2.safetensors").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_a_moved_project_is_trained_where_it_is(tmp_path, project, base):
    """Also from a model of its own, and with images that lie beside it."""
    own = shutil.copy(base, project.folder / "own.safetensors")
    config = config_for(project, project.folder / "own.safetensors")
    folder = project.folder / "training" / "run"
    folder.mkdir(parents=True)
    write_config(folder, config)
    RunFolder(folder).write_status(Status(phase="stopped"))
    assert own.exists()
    moved = project.folder.rename(tmp_path / "moved")
    assert process.main(moved / "training" / "run") == 0
    made = moved / "models" / "tiny-2.safetensors"
    assert made.exists() and not project.folder.exists()
    again = made.parent.parent.rename(tmp_path / "again")
    assert (
        FineTuningRun(again / "training" / "run").status().checkpoint
        == again / "models" / made.name
    )


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_an_image_moved_while_training_can_be_located(tmp_path, base, monkeypatch):
    from skimage.io import imsave

    project = Project(tmp_path / "project", create=True)
    for i in range(3):
        scan, label = disc(2, i)
        file = tmp_path / f"{i}.png"
        imsave(file, (255 * scan.array.clip(0, 1)).astype(np.uint8), check_contrast=False)
        case = project.add_case(f"case{i}", read_scan(file), file, DISC, masks_of(label))
        case.change(split="validation" if i == 2 else "training")
    project.close()
    folder = project.folder / "training" / "run"
    snapshot_cases(project.folder, sorted(project.records()), folder / "snapshot")
    for i in range(3):
        (tmp_path / f"{i}.png").rename(tmp_path / f"moved{i}.png")
    write_config(folder, config_for(project, base, updates=2))
    RunFolder(folder).write_status(Status(phase="stopped"))
    assert process.main(folder) == 1
    assert "locate it" in RunFolder(folder).status().text
    opened = Project(project.folder)
    for i in range(3):
        opened.images.locate(opened.case(f"case{i}"), tmp_path / f"moved{i}.png")
    opened.close()
    assert process.main(folder) == 0, RunFolder(folder).status()


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_a_class_that_nothing_shows_is_reported(tmp_path, tiny_checkpoint):
    checkpoint = tiny_checkpoint(classes=3)
    described = checkpoint.metadata.model_copy(update={"classes": (*DISC, RING)})
    base = save_checkpoint(replace(checkpoint, metadata=described), tmp_path / "b.safetensors")
    project = project_of(tmp_path / "project")
    folder, status = here(config_for(project, base, classes=(*DISC, RING)))
    assert status.phase == "finished", status
    found = read_comparison(folder / "comparison.json")
    assert found.unseen == ("ring",) and "No training case shows ring" in found.warning
    assert comparison([0.1] * 8).warning == ""


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, assert_sentence):
    import torch

    from napari_ldseg.training.state import save_state

    def save(*args):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(LDSegError) as error:
        save_state(tmp_path / "state.pt", {})
    assert_sentence(error, "the disk is full")
    assert "inline_container" not in str(error.value) and list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("known", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
@pytest.mark.usefixtures("without_plots")
def test_a_processor_without_bfloat16_trains_in_float32(
    project, base, known, precision, monkeypatch
):
    import torch

    capabilities = {"avx512_bf16": known, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    _, status = here(config_for(project, base, updates=1))
    assert load_checkpoint(status.checkpoint).metadata.training.settings["precision"] == precision


@pytest.mark.usefixtures("without_plots")
def test_one_case_alone_can_be_trained_on_but_not_compared(project, base):
    alone = next(name for name, r in project.records().items() if r.split == "training")
    folder, status = here(config_for(project, base, cases=(alone,), updates=2))
    assert status.phase == "finished", status
    verdict = read_comparison(folder / "comparison.json").verdict
    assert verdict.kind == "none" and "No case was held out" in verdict.text


def comparison(gains, start=0.8):
    changes = [
        CaseChange(case=f"c{i}", patient=f"p{i}", before=(start,), after=(start + g,))
        for i, g in enumerate(gains)
    ]
    return Comparison(base="old", name="new", classes=("disc",), changes=tuple(changes))


@pytest.mark.parametrize(
    "gains, kind, words",
    [
        ([0.1] * 8, "better", "mean DSC 0.800 before, 0.900 after, on 8 held-out cases"),
        ([-0.02] * 8, "worse", "Keep the old model"),
        ([0.001] * 8, "same", "Keep the old model"),
        ([0.3, *[-0.03] * 7], "same", "Keep the old model"),
        ([0.3] * 7, "too few", "Too few to tell: 7 cases"),
        ([0.3], "too few", "1 case was held out"),
        ([], "none", "No case was held out"),
    ],
)
def test_the_verdict_is_what_the_cases_allow(gains, kind, words):
    verdict = comparison(gains).verdict
    assert verdict.kind == kind and words in verdict.text
    assert (verdict.before is None) == (kind in ("too few", "none"))


def test_a_model_s_name_stays_within_the_project(tmp_path, project, base):
    """A foreign checkpoint may be called anything; nothing is written outside, nor over the decisions."""
    name = suggest_model_name(project.folder, "../../elsewhere/x:y")
    assert config_for(project, base, name=name).name == name == "elsewhere-x-y-2"
    assert suggest_model_name(project.folder, "../..") == "model-2"
    for bad in ("../x", "a/b", ".x", "Adopted"):
        with pytest.raises(ValueError, match="name"):
            config_for(project, base, name=bad)


def test_selectable_cases_give_the_reason_why_not(project, base):
    cases = project.cases()
    for folder in cases[:1]:
        masks = folder.load()
        folder.save(folder.grid(), replace(masks, reviewed=np.zeros_like(masks.reviewed)))
    found = {c.name: c for c in selectable_cases(project, ["background", "disc"], 2)}
    assert "Nothing is reviewed" in found["patient00"].problem and found["patient00"].reviewed == 0
    assert found["patient01"].problem == "" and found["patient01"].reviewed == 1
    assert "3D" in selectable_cases(project, ["background", "disc"], 3)[1].problem


def test_what_to_annotate_next_separates_twins(tmp_path, tiny_checkpoint):
    """Of two equal images the second is worth less, however high its expected error."""
    project = Project(tmp_path / "project", create=True)
    scans = {"a": disc(2, 1)[0], "a-again": disc(2, 1)[0], "b": disc(2, 7)[0]}
    for name, scan in scans.items():
        project.add_case(name, replace(scan, name=name), None, DISC, None)
    project.close()
    seen = []
    order = rank(tiny_checkpoint(), project, list(scans), [], on_case=lambda: seen.append(1))
    assert len(seen) == 3 and {s.name for s in order} == set(scans)
    names = [s.name for s in order]
    assert abs(names.index("a") - names.index("a-again")) == 2 or names[0] == "b"
    assert "like a case before it" in order[-1].reason
    colour = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    opened = Project(project.folder)
    opened.add_case("colour", Scan(colour, channels=True, name="colour"), None, DISC, None)
    opened.close()
    last = rank(tiny_checkpoint(), project, [*scans, "colour"], [])[-1]
    assert last.name == "colour" and "grey image" in last.problem
    (project.folder / "cases" / "b").rename(project.folder / "cases" / "gone")
    assert rank(tiny_checkpoint(), project, list(scans), [])[-1].problem
