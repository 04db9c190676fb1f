"""MONAI Label's own client against the server, each in a process of its own; needs the extra ``server``."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel")
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from napari_ldseg import bundled_checkpoints, load_checkpoint, read_scan, segment
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.inference.progress import RunSettings
from napari_ldseg.inference.region import Region, crop, full_region
from napari_ldseg.remote.server import Server
from napari_ldseg.scans.files import read_labels, write_like

SCAN = Path(__file__).parents[2] / "sample_data" / "mri_phantom.nii.gz"
MODEL = "mri-phantom"
STARTING_SECONDS, TRAINING_SECONDS = 240, 300


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextmanager
def running(studies, folder):
    """Run a server on the images in ``studies``; yield its client and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "napari_ldseg", "serve", str(studies), "--port", str(port)]
    command += ["--work", str(folder / "work"), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + STARTING_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{url}/info/").read()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.5)
    try:
        yield MONAILabelClient(url, tmpdir=str(folder)), process
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server with two images; its client and the folder of the images."""
    folder = tmp_path_factory.mktemp("server")
    studies = folder / "studies"
    studies.mkdir()
    for name in ("first", "second"):
        shutil.copy(SCAN, studies / f"{name}.nii.gz")
    with running(studies, folder) as (client, _):
        yield client, studies


def refused(call, status, words):
    """Check that a call is refused with a status and a sentence."""
    with pytest.raises(MONAILabelClientException) as error:
        call()
    assert f"Status: {status}" in error.value.msg and words in error.value.msg, error.value.msg


@pytest.fixture(scope="module")
def local():
    """The same image segmented here."""
    return segment(
        load_checkpoint(bundled_checkpoints()[MODEL]), read_scan(SCAN), 3, seed=5, device="cpu"
    )


def test_models_are_listed_with_their_classes(server):
    models = server[0].info()["models"]
    assert set(bundled_checkpoints()) <= set(models)
    assert models[MODEL]["labels"] and models[f"{MODEL}-points"]["type"] == "deepedit"


def test_labels_and_their_summary_are_those_of_a_local_run(server, local):
    file, params = server[0].infer(MODEL, "first", {"N": 3, "seed": 5})
    np.testing.assert_array_equal(read_labels(file).array, local.labels)
    expected = json.loads(json.dumps(local.summary()))
    for part in ("classes", "calibrated", "expected_error", "warning", "unit"):
        assert params[part] == expected[part]
    assert params["provenance"]["seed"] == 5 and params["provenance"]["samples"] == 3


def test_napari_gets_the_samples_as_they_come(server, local):
    with closing(Server(server[0]._server_url)) as client:
        model = client.models()[MODEL]
        scan, settings = local.scan, RunSettings(3, None, 5)
        progress = list(client.run(model, read_metadata(model), scan, full_region(scan), settings))
    view = progress[-1].view
    for name in ("labels", "sample_sd", "predictive_sd", "error_probability", "runner_up"):
        np.testing.assert_array_equal(getattr(view, name), getattr(local, name))
    assert view.summary["provenance"]["server"] == server[0]._server_url


def test_a_session_is_segmented_and_leaves_nothing_behind(server, local, tmp_path):
    client, _ = server
    session = client.create_session(str(SCAN))
    image = Path(session["session_info"]["image"])
    assert image.exists()
    file, _ = client.infer(MODEL, "", {"samples": 3, "seed": 5}, session_id=session["session_id"])
    np.testing.assert_array_equal(read_labels(file).array, local.labels)
    client.remove_session(session["session_id"])
    assert not image.exists()


def test_points_and_scribbles_change_the_labels(server, local, tmp_path):
    client, _ = server
    scan = local.scan
    inside = np.argwhere(local.labels == 1)[0]
    scribble = np.zeros(scan.shape, np.uint8)
    scribble[tuple(inside)] = 255
    path = write_like(tmp_path / "scribble.nii.gz", scribble, scan)
    file, params = client.infer(MODEL, "first", {"N": 3, "seed": 5}, label_in=str(path))
    assert read_labels(file).array[tuple(inside)] == 0
    assert params["conditioned"]["strokes"] == 1 and not params["calibrated"]["intervals"]


def test_a_point_holds_where_it_is_set(server, local):
    client, _ = server
    inside = np.argwhere(local.labels == 1)[0]
    point = [int(n) for n in inside[::-1]]  # clients name voxels (x, y, z)
    file, params = client.infer(
        f"{MODEL}-points", "first", {"N": 3, "seed": 5, "background": [point]}
    )
    labels = read_labels(file).array
    assert labels[tuple(inside)] == 0 and not np.array_equal(labels, local.labels)
    assert not params["calibrated"]["intervals"]


def test_the_next_case_is_the_one_with_the_highest_expected_error(server):
    client, _ = server
    found = client.next_sample("expected_error", {"model": MODEL})
    assert found["id"] in ("first", "second") and 0 <= found["expected_error"] <= 1
    assert found["known"] == found["unlabelled"] == 2
    for params in ({"N": 10, "K": 1}, {"N": 10, "background": [[20, 20, 20]]}):
        _, other = client.infer(MODEL, found["id"], params)  # with other settings, so not stored
        assert other["expected_error"] != found["expected_error"]
    again = client.next_sample("expected_error", {})
    for part in ("id", "expected_error", "known"):
        assert again[part] == found[part]
    assert again["model"] == MODEL  # the one used last


def test_bad_requests_are_sentences_and_the_server_stays(server, tmp_path):
    client, _ = server
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(SCAN.read_bytes()[:5000])
    for image, file, params, status in (
        ("", str(broken), {}, "400"),
        ("nothing", None, {}, "400"),
        ("../../etc/passwd", None, {}, "400"),
        ("first", None, {"N": 0}, "400"),
        ("first", None, {"label_info": 3, "background": [[999, 0, 0]]}, "400"),
    ):
        with pytest.raises(MONAILabelClientException) as error:
            client.infer(MODEL, image, params, file=file)
        assert f"Status: {status}" in error.value.msg and "detail" in error.value.msg
    refused(lambda: client.save_label("nothing", str(SCAN), tag="final"), 404, "nothing")
    assert client.info()["name"] == "LDSeg"


def test_scans_stay_and_labels_of_another_grid_are_refused(server, local, tmp_path):
    client, studies = server
    work = studies.parent / "work"
    before = (studies / "first.nii.gz").read_bytes()
    part = crop(local.scan, Region((0, 0, 0), (20, 20, 20)))
    other = write_like(tmp_path / "other.nii.gz", local.labels[:20, :20, :20], part)
    (tmp_path / "bad.nii.gz").write_bytes(b"garbage")
    refused(lambda: client.upload_image(str(other), "first"), 400, "already an image first")
    request = urllib.request.Request(f"{client._server_url}/datastore/?id=first", method="DELETE")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request)
    assert (studies / "first.nii.gz").read_bytes() == before
    for wrong in (other, tmp_path / "bad.nii.gz"):
        refused(lambda wrong=wrong: client.save_label("first", str(wrong), tag="final"), 400, "")
    assert not (studies / "labels" / "final" / "first.nii.gz").exists()
    assert not list((work / "app" / "tmp").rglob("*.nii.gz"))


def test_mistakes_in_a_training_are_told_at_once(server):
    client, _ = server
    refused(lambda: client.train_start("x", {}), 400, "no model x")
    refused(lambda: client.train_start(MODEL, {"adopt": "nope"}), 400, "no trained model nope")
    refused(lambda: client.train_start(MODEL, {"updates": "x"}), 400, "whole number")


def test_two_servers_of_one_folder_lose_nothing(tmp_path, local):
    studies = tmp_path / "studies"
    studies.mkdir()
    names = [f"scan{number}" for number in range(8)]
    for name in names:
        shutil.copy(SCAN, studies / f"{name}.nii.gz")
    labels = str(write_like(tmp_path / "labels.nii.gz", local.labels, local.scan))
    with (
        running(studies, tmp_path / "a") as (one, _),
        running(studies, tmp_path / "b") as (two, _),
    ):
        for number, name in enumerate(names):
            info = [{"name": name, "id": 1}]
            (one, two)[number % 2].save_label(name, labels, "final", {"label_info": info})
        stored = json.loads((studies / "datastore_v2.json").read_text())["objects"]
        for name in names:
            label = stored[name]["labels"]["final"]["info"]["label_info"]
            assert label == [{"name": name, "id": 1}]


def test_a_batch_needs_no_gpu(server):
    client, studies = server
    body, kind = b'{"max_batch_size": 1, "N": 1}', {"Content-Type": "application/json"}
    url = f"{client._server_url}/batch/infer/{MODEL}?images=all"
    urllib.request.urlopen(urllib.request.Request(url, body, kind))
    end = time.monotonic() + STARTING_SECONDS
    while not list((studies / "labels" / "original").glob("*.nii.gz")):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_server_that_is_stopped_does_not_wait_for_its_runs(tmp_path):
    (tmp_path / "studies").mkdir()
    shutil.copy(SCAN, tmp_path / "studies" / "scan.nii.gz")
    with running(tmp_path / "studies", tmp_path / "server") as (client, process):
        asked = threading.Thread(target=suppressed, args=(client.infer, MODEL, "scan", {"N": 1000}))
        asked.start()
        time.sleep(2)
        process.terminate()
        process.wait(timeout=20)
        asked.join()


def suppressed(call, *arguments):
    with suppress(MONAILabelClientException, OSError, http.client.HTTPException):
        call(*arguments)


def test_a_model_trained_on_final_labels_is_offered_once_it_is_adopted(server, local, tmp_path):
    client, studies = server
    for name, value in (("third", 7), ("fourth", 9)):  # other voxels, so other cases
        changed = local.scan.array.copy()
        changed[0, 0, 0] += value
        write_like(studies / f"{name}.nii.gz", changed, local.scan)
    labels = write_like(tmp_path / "labels.nii.gz", local.labels, local.scan)
    end = time.monotonic() + STARTING_SECONDS
    while not {"third", "fourth"} <= set(client.datastore()["objects"]):  # it looks now and then
        assert time.monotonic() < end
        time.sleep(0.2)
    for name in ("third", "fourth"):
        client.save_label(name, str(labels), tag="final")

    def trained(**params):
        client.train_start(MODEL, params)
        end = time.monotonic() + TRAINING_SECONDS
        while (status := client.train_status())["status"] in ("SUBMITTED", "RUNNING"):
            assert time.monotonic() < end, status
            time.sleep(0.5)
        return status

    status = trained(pace="quick", updates=2)
    name = f"{MODEL}-2"
    assert status["status"] == "DONE" and status["result"]["model"] == name
    assert status["result"]["cases"] == 2 and status["result"]["verdict"]
    assert name not in client.info()["models"]
    assert client.train_start(MODEL, {"adopt": name})["adopted"]
    assert name in client.info()["models"]
    file, params = client.infer(name, "third", {"N": 1})
    assert read_labels(file).array.shape == local.labels.shape and params["model"] == name
