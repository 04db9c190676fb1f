"""Shared helpers: tiny untrained checkpoints, simple images, and what an error message must be."""

import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import Checkpoint, build_model, save_checkpoint
from napari_ldseg.checkpoint.metadata import ClassInfo, Grid, Intensity, Metadata, TrainingRecord
from napari_ldseg.cli import app
from napari_ldseg.model.architecture import Architecture
from napari_ldseg.project.folder import Project
from napari_ldseg.utils.colours import class_colour

from .discs import SIZES, WIDTHS

WIDGETS = Path(__file__).parent / "widgets"
SECONDS = {"slow": 8, "gui": 2}  # about what a test with this mark takes

# No settings file of the user is read or written. Set before tests/widgets/conftest.py imports napari.
os.environ["NAPARI_CONFIG"] = ""


def pytest_configure():
    """Keep each of several pytest processes to one core."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a window; of several pytest processes none gets a long file last."""
    seconds = Counter()
    for item in items:
        if WIDGETS in item.path.parents or "make_napari_viewer" in item.fixturenames:
            item.add_marker("gui")
        costs = [SECONDS[mark.name] for mark in item.iter_markers() if mark.name in SECONDS]
        seconds[item.path] += max(costs, default=0.2)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: (-seconds[item.path], item.path))


@pytest.fixture
def project(tmp_path):
    """An empty project, open."""
    project = Project(tmp_path / "project", create=True)
    yield project
    project.close()


@pytest.fixture(scope="session")
def tiny_metadata():
    """Factory of valid metadata with tiny widths and two down-samplings; keywords override."""

    def make(dims=2, classes=2, channels=1, *, latent_channels=2, architecture=None, **changes):
        sizes = {
            "label_widths": (4, 8, 8),
            "image_widths": (4, 8, 8),
            "denoiser_widths": (8, 8),
            "denoiser_attention": (1,),
            "denoiser_blocks": 1,
        }
        fields = {
            "name": f"tiny {dims}D",
            "description": "Untrained networks for tests.",
            "architecture": Architecture(
                dims,
                channels,
                classes,
                latent_channels=latent_channels,
                **sizes | (architecture or {}),
            ),
            "channels": tuple(f"channel {i}" for i in range(channels)),
            "classes": tuple(
                ClassInfo(name=f"class {i}", colour=class_colour(i)) for i in range(classes)
            ),
            "orientation": None if dims == 2 else "SPL",
            "grid": Grid(size=(16,) * dims),
            "intensity": Intensity(method="min-max"),
            "posterior_steps": 4,
            "training": TrainingRecord(data="none", licence="BSD-3-Clause", split="none"),
        }
        return Metadata(**fields | changes)

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_metadata):
    """Factory of untrained but valid checkpoints; the same arguments give the same weights.

    The last layers are enlarged, so that different latents decode to clearly different labels.
    """

    def make(dims=2, classes=2, channels=1, **changes):
        metadata = tiny_metadata(dims, classes, channels, **changes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(dims)
            model = build_model(metadata)
            model.label_decoder.out.weight.data.mul_(5)
            model.denoiser.out.weight.data.mul_(5)
        return Checkpoint(metadata, model.eval().requires_grad_(False))

    return make


@pytest.fixture
def results_folder(tiny_checkpoint, tmp_path):
    """Factory: segment image files as ``napari-ldseg segment`` does, and return the folder."""

    def make(paths, dims=3, classes=3, samples=2):
        checkpoint = save_checkpoint(
            tiny_checkpoint(dims, classes), tmp_path / "batch model.safetensors"
        )
        arguments = ["segment", *map(str, paths), "-o", str(tmp_path / "results")]
        arguments += ["--model", str(checkpoint), "-n", str(samples), "--accelerator", "cpu"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return tmp_path / "results"

    return make


@pytest.fixture(scope="session")
def known_plugins():
    """Read the manifests of all plugins once instead of for each viewer."""
    from npe2 import PluginManager

    plugins = PluginManager.instance()
    plugins.discover(include_npe1=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "discover", lambda **options: 0)
        yield


@pytest.fixture(scope="module")
def few_steps():
    """Measure a checkpoint's steps as quick_cli.py does, in tests of what is around it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_ldseg.evaluation.steps.REFERENCE_STEPS", 10)
        patch.setattr("napari_ldseg.evaluation.steps.CANDIDATE_STEPS", (3, 5))
        yield


@pytest.fixture
def without_plots(monkeypatch):
    """Leave the plots undrawn, half of a short run's time, where they are not looked at."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: None)


@pytest.fixture(scope="module")
def one_thread():
    """Compute in one thread, as the processes of forked.py do, so that both give the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def assert_sentence():
    """Check that an exception's text is one sentence for a person, with every one of ``words``."""

    def check(error, *words):
        text = str(error.value if hasattr(error, "value") else error)
        assert text.endswith(".") and "\n" not in text and "Traceback" not in text, text
        assert 20 < len(text) < 400, text
        for word in words:
            assert word in text, (word, text)

    return check


@pytest.fixture(scope="session")
def disc_metadata(tiny_metadata):
    def make(dims, **changes):
        grid = Grid(size=(SIZES[dims],) * dims)
        return tiny_metadata(dims, grid=grid, architecture=WIDTHS, **changes)

    return make
