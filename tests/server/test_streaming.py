"""A client and a server on a real port: the same result as here, and nothing lost when something breaks."""

import threading
from contextlib import closing

import numpy as np
import pytest
import torch

from napari_ldseg import load_checkpoint, save_checkpoint, segment
from napari_ldseg.checkpoint.file import Checkpoint, build_model
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference import running as running_module
from napari_ldseg.inference.progress import RunSettings
from napari_ldseg.inference.region import Region, crop, full_region
from napari_ldseg.remote import connection as connection_module
from napari_ldseg.remote import server as server_module
from napari_ldseg.remote.connection import PasswordNeeded
from napari_ldseg.remote.server import Server
from napari_ldseg.scans.scan import Scan
from napari_ldseg.server import guard as guard_module
from napari_ldseg.server.jobs import Cancelled

from ..inference.test_diffdgss import FIELDS, photograph  # noqa: F401
from ..model.test_fast import randomise
from ..training.test_learning import UNET
from .running import running

PASSWORD = "a long password"


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Do not wait after a wrong password, nor before another attempt."""
    monkeypatch.setattr(guard_module, "SECONDS_AFTER_WRONG_PASSWORD", 0)
    monkeypatch.setattr(server_module, "SECONDS_BEFORE_RETRY", 0)


@pytest.fixture(scope="module")
def models(tiny_checkpoint, tmp_path_factory):
    """A folder with a 2D and a 3D model, and two for photographs of the retina."""
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(tiny_checkpoint(2, 3), folder / "flat.safetensors")
    save_checkpoint(tiny_checkpoint(3, 3), folder / "volume.safetensors")
    torch.manual_seed(0)
    for name, fields in {"diffdgss": {}, "unet": UNET}.items():
        metadata = Metadata.model_validate(FIELDS | fields)
        model = randomise(build_model(metadata))
        save_checkpoint(Checkpoint(metadata, model), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def served(models, tmp_path):
    """What is served, and its listener."""
    with running(models, tmp_path / "sessions") as found:
        yield found


@pytest.fixture
def server(served):
    """A client that is connected."""
    with closing(Server(served[1].url)) as server:
        yield server


def oblique_scan(dtype=">i2"):
    """A scan with oblique axes and three different voxel sizes."""
    array = np.random.default_rng(3).integers(-900, 900, (9, 14, 11)).astype(dtype)
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.3, 0.7, 1.1])
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    return Scan(array, affine, name="oblique scan", modality="MR")


def run(server, name, scan, region=None, samples=3, stopped=lambda: False, seed=5):
    """Do a run on the server; return all the progress that comes."""
    model = server.models()[name]
    settings = RunSettings(samples, None, seed)
    found = server.run(
        model,
        read_metadata(model),
        scan,
        region or full_region(scan),
        settings,
        stopped=stopped,
    )
    return list(found)


def assert_same(view, local):
    """The view is the local posterior, bit for bit."""
    for name in ("labels", "sample_sd", "predictive_sd", "error_probability", "runner_up"):
        mine, theirs = getattr(local, name), getattr(view, name)
        np.testing.assert_array_equal(theirs, mine)
        assert theirs.dtype == mine.dtype


@pytest.mark.parametrize("name", ["flat", "volume"])
def test_a_run_on_an_oblique_scan_is_bit_for_bit_that_of_this_computer(
    server, served, models, name
):
    scan = oblique_scan()
    *_, last = run(server, name, scan)
    local = segment(load_checkpoint(models / f"{name}.safetensors"), scan, 3, seed=5, device="cpu")
    assert_same(last.view, local)
    summary, expected = last.view.summary, local.summary()
    for part in ("classes", "unit", "expected_error", "samples", "calibrated"):
        assert summary[part] == _as_json(expected[part])
    assert summary["provenance"]["server"] == served[1].url
    for part in ("seed", "steps", "image", "image_sha256", "checkpoint_sha256"):
        assert summary["provenance"][part] == local.provenance[part]


@pytest.mark.parametrize("name", ["diffdgss", "unet"])
def test_a_photograph_of_the_retina_too(server, models, photograph, name):  # noqa: F811
    scan = Scan(photograph[0], channels=True, name="eye")
    *_, last = run(server, name, scan)
    local = segment(load_checkpoint(models / f"{name}.safetensors"), scan, 3, seed=5, device="cpu")
    assert_same(last.view, local)
    assert last.view.labels.any() and not last.view.labels.all()


def _as_json(value):
    if isinstance(value, dict):
        return {name: _as_json(part) for name, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


def test_a_scan_is_sent_once_and_deleted_at_the_end(server, served):
    scan, region = oblique_scan(), Region((2, 3, 1), (7, 12, 10))
    run(server, "flat", scan)
    *_, last = run(server, "flat", scan, region)
    assert served[0].sent == 1 and len(list(served[0].folder.iterdir())) == 1
    model = load_checkpoint(served[0].models()["flat"].path)
    assert_same(last.view, segment(model, crop(scan, region), 3, seed=5, device="cpu"))
    run(server, "flat", oblique_scan(np.float32))
    assert served[0].sent == 2 and len(list(served[0].folder.iterdir())) == 1
    server.close()
    assert not list(served[0].folder.iterdir())


def test_a_scan_that_the_server_has_forgotten_is_sent_again(server, served):
    run(server, "flat", oblique_scan())
    for file in served[0].folder.iterdir():
        file.unlink()
    *_, last = run(server, "flat", oblique_scan())
    assert last.last and last.view.summary["samples"] == 3 and served[0].sent == 2


def test_stopping_ends_the_run_on_the_server_and_keeps_what_came(server, served, monkeypatch):
    jobs, submit = [], served[0].jobs.submit
    monkeypatch.setattr(
        served[0].jobs, "submit", lambda work: jobs.append(submit(work)) or jobs[-1]
    )
    stop, seen = threading.Event(), []
    model = server.models()["flat"]
    metadata = read_metadata(model)
    scan = oblique_scan()
    for progress in server.run(
        model, metadata, scan, full_region(scan), RunSettings(1000), stopped=stop.is_set
    ):
        seen.append(progress)
        if progress.view is not None and progress.view.summary is not None:
            stop.set()
    assert seen[-1].last and seen[-1].view.error_probability is not None
    assert 1 <= seen[-1].view.summary["samples"] < 1000
    assert isinstance(jobs[0].future.exception(timeout=30), Cancelled)
    *_, last = run(server, "flat", scan)
    assert last.view.summary["samples"] == 3 and served[0].jobs.load <= 1


def test_a_connection_that_breaks_is_made_again(server, served):
    listener, scan = served[1], oblique_scan()
    original = listener.app

    async def breaking(scope, receive, send):
        if "sample" in scope["path"]:
            listener.app, listener.cut_after = original, 0
        try:
            await original(scope, receive, send)
        finally:
            listener.cut_after = None

    run(server, "flat", scan)
    listener.app = breaking
    progress = run(server, "flat", scan)
    assert any("lost; trying again" in p.message for p in progress)
    assert progress[-1].last and progress[-1].view.summary["samples"] == 3
    assert served[0].sent == 1


def test_a_server_that_does_not_come_back_is_one_sentence(server, served, monkeypatch):
    monkeypatch.setattr(running_module, "SECONDS_BETWEEN_VIEWS", 0)
    served[1].cut_after = 8
    with pytest.raises(LDSegError, match=r"lost after \d+ samples; the layers have them"):
        run(server, "flat", oblique_scan(), samples=1000)
    served[1].cut_after = 0
    with pytest.raises(LDSegError, match="does not answer; check the address"):
        run(server, "flat", oblique_scan())
    served[1].close()
    with pytest.raises(LDSegError, match="does not answer; check the address"):
        server.models()


def test_the_password_is_needed_and_never_leaves_this_computer_in_the_clear(models, tmp_path):
    with running(models, tmp_path / "sessions", PASSWORD) as (_, listener):
        with pytest.raises(PasswordNeeded, match="needs a password"):
            Server(listener.url).models()
        with pytest.raises(PasswordNeeded, match="refuses the password"):
            Server(listener.url, "wrong").models()
        with closing(Server(listener.url, PASSWORD)) as server:
            *_, last = run(server, "flat", oblique_scan())
        assert last.view.summary["samples"] == 3
        assert PASSWORD not in str(last)
    for url in ("http://ldseg.example.org", "http://10.0.0.7:8000"):
        with pytest.raises(LDSegError, match="not encrypted"):
            Server(url, PASSWORD)


@pytest.mark.parametrize("url", ["", "ldseg", "ftp://x", "https://", "http://[::1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(LDSegError, match="no address of a server"):
        Server(url)


def test_a_password_in_the_address_is_not_repeated():
    with pytest.raises(LDSegError, match="Leave the user and the password out") as error:
        Server("https://u:secret@x")
    assert "secret" not in str(error.value)


def test_what_the_server_refuses_is_its_sentence(server, served, monkeypatch):
    scan = oblique_scan()
    blank = Scan(np.zeros((4, 4)), name="blank")
    with pytest.raises(LDSegError, match=r"localhost:.*blank"):
        run(server, "volume", blank)  # a flat image
    monkeypatch.setattr(served[0], "most_bytes", 1000)
    with pytest.raises(LDSegError, match="too large"):
        run(server, "flat", scan)


def test_a_waiting_run_says_how_many_come_before_it(server, served, monkeypatch):
    go = threading.Event()
    served[0].jobs.submit(go.wait)
    seen = []
    model, scan = server.models()["flat"], oblique_scan()
    metadata = read_metadata(model)
    for progress in server.run(model, metadata, scan, full_region(scan), RunSettings(2)):
        seen.append(progress)
        if progress.message == "Waiting: 1 request before this one …":
            go.set()
    assert go.is_set() and seen[-1].view.summary["samples"] == 2


def test_the_client_gives_up_on_a_server_that_is_silent(server, served, monkeypatch):
    monkeypatch.setattr(connection_module, "SECONDS_OF_SILENCE", 0.2)

    async def silent(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    served[1].app = silent
    with pytest.raises(LDSegError, match="does not answer"):
        server.models()
