"""From what a client sends to what it gets back, without MONAI Label."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.file import save_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.commands import serve as serve_module
from napari_ldseg.errors import LDSegError
from napari_ldseg.finetuning.model_store import ModelStore
from napari_ldseg.inference.segment import segment
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.files import read_labels, read_scan, write_like
from napari_ldseg.scans.scan import LPS, Scan
from napari_ldseg.server.catalogue import Catalogue
from napari_ldseg.server.jobs import Cancelled, JobQueue
from napari_ldseg.server.monai.sessions import remove_expired
from napari_ldseg.server.next_case import next_case
from napari_ldseg.server.request import parse_request
from napari_ldseg.server.segmentation import (
    answer,
    check_on_grid,
    labels_on,
    read_request_image,
    write_reply,
)
from napari_ldseg.server.training import FinalLabel, adopt, check_training, take_in

from .. import dicom_files

CLASSES = ("background", "class 1")


@pytest.fixture
def checkpoint(tiny_checkpoint):
    """Untrained networks for 3D."""
    return tiny_checkpoint(3)


@pytest.fixture
def image(tmp_path):
    """The file of a small volume with an oblique affine, and its scan."""
    rng = np.random.default_rng(3)
    affine = np.array([[0, 0, -1, 5], [0, -1.2, 0.3, 4], [1.5, 0, 0, 3], [0, 0, 0, 1.0]])
    scan = Scan(rng.random((12, 14, 16), dtype=np.float32), affine)
    path = write_like(tmp_path / "image.nii.gz", scan.array, scan)
    return path, read_request_image(path, 1)


def test_a_request_has_bounds_and_sentences():
    request = parse_request(
        {"N": "4", "K": 3, "seed": 9, "client_id": "x", "device": "cuda"}, CLASSES
    )
    assert (request.samples, request.steps, request.seed) == (4, 3, 9)
    for wrong in (
        {"N": 0},
        {"N": 10**9},
        {"seed": -1},
        {"result_extension": "/../x"},
        {"maps": ["x"]},
    ):
        with pytest.raises(LDSegError, match="request"):
            parse_request(wrong, CLASSES)
    points = parse_request(
        {"class 1": [[1, 2, 3]], "background": [[4, 5, 6]], "foreground": []}, CLASSES
    )
    assert points.points == {1: [(1, 2, 3)], 0: [(4, 5, 6)]}
    info = [{"name": "background_scribbles", "id": 2}, {"name": "class 1", "idx": 1}]
    assert parse_request({"label_info": info}, CLASSES).label_classes == {2: 0, 1: 1}


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd"])
def test_the_reply_is_what_a_local_run_gives_on_the_grid_of_the_file(
    checkpoint, image, tmp_path, suffix
):
    path, scan = image
    given = {"N": 3, "seed": 4, "result_extension": suffix, "maps": ["sample_sd", "predictive_sd"]}
    request = parse_request(given, CLASSES)
    reply = answer(checkpoint, scan, request, device="cpu")
    local = segment(checkpoint, read_scan(path), 3, seed=4, device="cpu")
    files = write_reply(reply, tmp_path, request)
    labels = read_labels(files["labels"])
    raw = b"encoding: raw" in files["labels"].read_bytes()
    assert raw == (suffix == ".nrrd")  # the only encoding that the OHIF viewer reads
    np.testing.assert_array_equal(labels.array, local.labels)
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-5)
    np.testing.assert_allclose(read_scan(files["sample_sd"]).array, local.sample_sd, atol=1e-6)
    assert reply.params["expected_error"] == local.expected_error()
    assert reply.params["label_names"] == {"class 1": 1}
    assert reply.params["classes"]["class 1"]["interval"] is not None


def test_points_and_scribbles_hold_in_the_reply_and_condition_the_rest(checkpoint, image, tmp_path):
    _, scan = image
    before = answer(checkpoint, scan, parse_request({"N": 4}, CLASSES), device="cpu")
    labels = np.asarray(before.result.labels)
    place = np.argwhere(labels == labels[6, 7, 8])[0]
    other = 1 - int(labels[tuple(place)])
    marked = np.zeros(scan.shape, np.uint8)
    marked[tuple(place)] = other or 255
    file = write_like(tmp_path / "scribble.nii.gz", marked, scan)
    (at,) = np.argwhere(np.asarray(nib.load(file).dataobj))  # the viewers' (x, y, z)
    name = CLASSES[other]
    pointed = parse_request({"N": 4, name: [at.tolist()]}, CLASSES)
    raw = tmp_path / "label.bin"
    np.asarray(nib.load(file).dataobj).astype(np.uint8).ravel(order="F").tofile(raw)
    replies = [
        answer(checkpoint, scan, pointed, device="cpu"),
        *(
            answer(checkpoint, scan, parse_request({"N": 4}, CLASSES), f, "cpu")
            for f in (file, raw)
        ),
    ]
    for reply in replies:
        assert np.asarray(reply.result.labels)[tuple(place)] == other
        assert reply.params["conditioned"]["strokes"] == 1
        assert not reply.params["calibrated"]["probability"]
        np.testing.assert_array_equal(reply.result.labels, replies[0].result.labels)
    with pytest.raises(LDSegError, match="outside"):
        answer(checkpoint, scan, parse_request({"N": 4, name: [[99, 0, 0]]}, CLASSES), device="cpu")
    small = write_like(tmp_path / "small.nii.gz", *_smaller(marked, scan))
    with pytest.raises(LDSegError, match="grid"):
        answer(checkpoint, scan, parse_request({"N": 4}, CLASSES), small, "cpu")


def _smaller(array, scan):
    return array[:-1], replace(scan, array=array[:-1], source=None)


@pytest.mark.parametrize("step", [2.5, -2.5])
def test_dicom_slices_are_in_the_order_of_the_viewers(tmp_path, step):
    folder = tmp_path / "series"
    dicom_files.save_series(folder, dicom_files.slices(dicom_files.volume(), step=step))
    scan = read_request_image(folder, 1)
    assert np.linalg.det((LPS @ scan.source.affine)[:3, :3]) > 0
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    viewed = sitk.GetArrayFromImage(reader.Execute())
    raw = tmp_path / "label.bin"  # one byte per voxel, x fastest
    (viewed % 251).astype(np.uint8).tofile(raw)
    np.testing.assert_array_equal(labels_on(scan, raw), np.asarray(read_scan(folder).array) % 251)


def test_a_request_that_is_no_longer_wanted_stops_between_samples(checkpoint, image):
    jobs, scan = JobQueue(), image[1]
    request = parse_request({"N": 1000}, CLASSES)
    job = jobs.submit(lambda: answer(checkpoint, scan, request, device="cpu"))
    while not job.future.running():
        time.sleep(0.01)
    job.cancel()
    with pytest.raises(Cancelled):
        job.future.result(30)
    jobs.close()


def test_labels_are_on_the_grid_of_an_image_with_channels_too(tmp_path):
    affine, shape = np.diag([1.0, 2.0, 3.0, 1.0]), (6, 7, 8)
    image, label, other = (tmp_path / f"{name}.nii.gz" for name in ("image", "label", "other"))
    nib.save(nib.Nifti1Image(np.ones((*shape, 2), np.float32), affine), image)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), affine), label)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), 2 * affine), other)
    check_on_grid(image, label)
    with pytest.raises(LDSegError, match="not on the grid of image"):
        check_on_grid(image, other)


def test_models_of_the_package_of_folders_and_adopted_ones_of_a_project(
    tiny_checkpoint, tmp_path, project
):
    folder = tmp_path / "models"
    folder.mkdir()
    save_checkpoint(tiny_checkpoint(), folder / "my model.safetensors")
    shutil.copy(folder / "my model.safetensors", folder / "camus.safetensors")
    (folder / "broken.safetensors").write_bytes(b"no checkpoint")
    catalogue = Catalogue([folder], project.folder)
    assert set(catalogue.models()) == {*bundled_checkpoints(), "my-model", "camus-2"}
    store = ModelStore(project.folder)
    store.folder.mkdir()
    trained = shutil.copy(folder / "my model.safetensors", store.folder / "trained.safetensors")
    assert "trained" not in catalogue.models()
    adopt(project.folder, "trained")
    assert catalogue.models()["trained"].path == trained
    with pytest.raises(LDSegError):
        adopt(project.folder, "../trained")
    store.decline(trained)
    assert "trained" not in catalogue.models()


def test_the_next_case_has_the_highest_expected_error_of_those_known():
    examined = []

    def examine(name):
        examined.append(name)
        if name == "bad":
            raise LDSegError("bad")
        return {"a": 0.2, "b": 0.7}[name]

    found = next_case(["b", "a", "bad", "c"], {"c": 0.5}, examine)
    assert found == ("b", 0.7, 3, 4) and examined == ["a", "b", "bad"]
    assert next_case(["b", "a"], {}, examine, seconds=-1) == ("a", 0.2, 1, 2)
    assert next_case([], {"c": 0.5}, examine) is None


def test_final_labels_become_reviewed_cases_and_new_ones_replace_them(
    tiny_checkpoint, image, tmp_path
):
    path, scan = image
    base = tmp_path / "base.safetensors"
    save_checkpoint(tiny_checkpoint(3), base)
    drawn = np.zeros(scan.shape, np.uint8)
    drawn[3:6] = 4
    label = write_like(tmp_path / "label.nii.gz", drawn, scan)
    folder = tmp_path / "project"
    taken = take_in(folder, [FinalLabel("image", path, label, {4: 1})], base)
    assert taken == (["image"], [], [])
    drawn[8] = 4
    write_like(label, drawn, scan)
    assert take_in(folder, [FinalLabel("image", path, label, {4: 1})], base).cases == ["image"]
    masks = Project.for_reading(folder).case("image").load()
    np.testing.assert_array_equal(masks.label, drawn == 4)
    assert masks.complete
    for meanings in (None, {}):  # {}: its names are no classes of the model
        problems = take_in(folder, [FinalLabel("image", path, label, meanings)], base).problems
        assert "value 4" in problems[0]
    drawn[drawn > 0] = 1
    write_like(label, drawn, scan)
    assert take_in(folder, [FinalLabel("image", path, label, {})], base).cases == []


def test_training_keeps_corrections_and_forgets_deleted_labels(tiny_checkpoint, image, tmp_path):
    path, scan = image
    base, folder = save_checkpoint(tiny_checkpoint(3), tmp_path / "base"), tmp_path / "project"
    drawn = np.zeros(scan.shape, np.uint8)
    drawn[3:6] = 1
    label = write_like(tmp_path / "label.nii.gz", drawn, scan)
    final = FinalLabel("image", path, label, None)
    assert take_in(folder, [final], base).cases == ["image"]
    corrected = drawn.copy()
    corrected[7] = 1
    project = Project(folder)
    case = project.case("image")
    whole = np.ones(scan.shape, bool)
    case.save(case.grid(), Masks(corrected, ~whole, whole))
    project.close()
    assert take_in(folder, [final], base) == (["image"], [], ["image"])
    np.testing.assert_array_equal(Project.for_reading(folder).case("image").load().label, corrected)
    os.utime(label, (time.time() + 5, time.time() + 5))  # submitted again
    assert take_in(folder, [final], base) == (["image"], [], [])
    np.testing.assert_array_equal(Project.for_reading(folder).case("image").load().label, drawn)
    assert take_in(folder, [], base).cases == []


def test_settings_of_a_training_are_checked():
    assert check_training({}) == check_training({"pace": ["quick", "thorough"]}) == ("quick", None)
    assert check_training({"pace": "thorough", "updates": "7"}) == ("thorough", 7)
    for wrong in ({"updates": "x"}, {"updates": -1}, {"pace": "fast"}):
        with pytest.raises(LDSegError):
            check_training(wrong)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"posteror": [[1, 2, 3]]}, "points of posteror, which is no class"),
        ({"disc": "1,2,3"}, "points of disc must be a list"),
        ({"disc": [[1, 2]]}, "point of disc in the request is not three"),
        ({"label_info": 3}, "must be a list of names"),
        ({"label_info": [3]}, "must be a list of names"),
    ],
)
def test_what_the_request_knows_is_never_dropped(params, words):
    with pytest.raises(LDSegError, match=words):
        parse_request(params, ["background", "disc"])


def test_values_and_points_without_a_meaning_are_refused(checkpoint, image, tmp_path):
    _, scan = image
    labels = np.zeros(scan.shape, np.uint8)
    labels[3] = 77
    file = write_like(tmp_path / "labels.nii.gz", labels, scan)
    classes = [info.name for info in checkpoint.metadata.classes]
    with pytest.raises(LDSegError, match="value 77, which is no class"):
        answer(checkpoint, scan, parse_request({"samples": 1}, classes), file, "cpu")
    info = [{"name": "another organ", "id": 77}, {"name": classes[1], "id": 3}]
    request = parse_request({"samples": 1, "label_info": info}, classes)
    answer(checkpoint, scan, request, file, "cpu")  # a viewer has more structures
    info = [{"name": "another organ", "id": 77}, {"name": "wrong", "id": {}}]
    request = parse_request({"samples": 1, "label_info": info}, classes)
    answer(checkpoint, scan, request, None, "cpu")
    with pytest.raises(LDSegError, match="names no class of the model"):
        answer(checkpoint, scan, request, file, "cpu")
    both = parse_request({classes[1]: [[1, 1, 1]], "background": [[1, 1, 1]]}, classes)
    with pytest.raises(LDSegError, match="two classes"):
        answer(checkpoint, scan, both, None, "cpu")


class Sessions(dict):
    """What ``remove_expired`` needs of MONAI Label's sessions."""

    def __init__(self, folder):
        super().__init__()
        self.store_path = str(folder)

    def get_session(self, name, update_ts, fetch_cache):
        record = Path(self.store_path) / name / "meta.info"
        return SimpleNamespace(**json.loads(record.read_text())) if record.exists() else None

    def remove_session(self, name):
        shutil.rmtree(Path(self.store_path) / name)


def test_a_broken_session_does_not_keep_the_others(tmp_path):
    for name, record in (
        ("a-unfinished", None),
        ("b-left", None),
        ("c-broken", "{"),
        ("d-expired", '{"last_access_ts": 1, "expiry": 30}'),
        ("e-used", json.dumps({"last_access_ts": time.time(), "expiry": 30})),
    ):
        (tmp_path / name).mkdir()
        if record is not None:
            (tmp_path / name / "meta.info").write_text(record)
        if name in ("b-left", "c-broken"):
            os.utime(tmp_path / name, (1, 1))
    assert remove_expired(Sessions(tmp_path)) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-unfinished", "e-used"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "There is no folder nowhere"),
        (["http://127.0.0.1:9/dicom-web"], "does not answer: Connection refused"),
        ([".", "--models", "nowhere"], "no folder nowhere with models"),
        ([".", "--device", "cuda:77"], "no device 'cuda:77'"),
        ([".", "--password-file", "nowhere"], "cannot be read: No such file"),
    ],
)
def test_a_server_that_cannot_serve_is_not_started(arguments, words, monkeypatch, tmp_path):
    monkeypatch.setattr(serve_module, "find_spec", lambda name: True)
    monkeypatch.setattr(os, "execve", lambda *command: pytest.fail("it was started"))
    answer = CliRunner().invoke(app, ["serve", *arguments, "--work", str(tmp_path / "work")])
    assert answer.exit_code == 1 and words in answer.stderr
    assert not (tmp_path / "work").exists()
