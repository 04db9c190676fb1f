"""The command line with models for photographs of the retina: segment, report, evaluate, info, train."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from skimage.io import imread, imsave
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.cli import app
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.folders import find_unlabelled
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.evaluation.overlap import overlap
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.files import read_scan
from napari_ldseg.training.config import read_config

from ..inference.test_diffdgss import FIELDS
from ..inference.test_unet import ONCE, TURNED
from ..model.test_fast import randomise
from ..training.test_learning import UNET

RECORD = {"training": FIELDS["training"] | {"settings": TURNED}}
FAMILIES = {"diffdgss": {}, "unet": UNET | ONCE | RECORD}
SHAPE = (70, 90)


@pytest.fixture(params=FAMILIES)
def checkpoint(request, tmp_path):
    torch.manual_seed(3)
    metadata = Metadata.model_validate(FIELDS | FAMILIES[request.param])
    made = Checkpoint(metadata, randomise(build_model(metadata)))
    path = save_checkpoint(made, tmp_path / "vessels.safetensors")
    return Checkpoint(metadata, made.model.eval(), path)


@pytest.fixture
def photographs(tmp_path):
    """Three photographs with a black surround and labels, and where that is, but for its edge of a few pixels."""
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.indices(SHAPE)
    distance = np.hypot(rows - 35, columns - 45)
    inside = distance < 32
    for number in range(3):
        vessel = inside & (np.abs(rows - 20 - 10 * number + 8 * np.sin(columns / 9)) < 2)
        image = np.full((*SHAPE, 3), 10, np.uint8)
        image[inside] = [170, 90, 50]
        image[vessel] = [110, 40, 30]
        imsave(folder / "images" / f"eye{number}.png", image, check_contrast=False)
        imsave(
            folder / "labels" / f"eye{number}.png", vessel.astype(np.uint8), check_contrast=False
        )
    return folder, distance > 37


def command(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def test_photographs_are_segmented_with_tables_and_reports(checkpoint, photographs, tmp_path):
    folder, surround = photographs
    out = tmp_path / "out"
    command(
        *("segment", folder / "images", "-o", out, "-m", checkpoint.path, "-n", 3),
        *("--report", "-f", "png", "--accelerator", "cpu"),
    )
    with (out / "volumes.csv").open() as file:
        table = {row["case"]: row for row in csv.DictReader(file)}
    assert len(table) == 3
    for name, row in table.items():
        labels = imread(out / "labels" / f"{name}.png").any(-1)  # in the colours of the classes
        alone = segment(checkpoint, read_scan(folder / "images" / f"{name}.png"), 3, device="cpu")
        np.testing.assert_array_equal(labels, alone.labels > 0)
        assert not labels[surround].any()
        assert float(row["vessel"]) == labels.sum()
        assert float(row["expected_error"]) == pytest.approx(alone.expected_error(), abs=1e-4)
        assert "vessel" in (out / "reports" / f"{name}.html").read_text(encoding="utf-8")


def test_an_evaluation_agrees_with_the_label_maps(checkpoint, photographs, tmp_path):
    folder, _ = photographs
    out = tmp_path / "report"
    command("evaluate", checkpoint.path, folder, "-o", out, "--device", "cpu", "--samples", 3)
    found = json.loads((out / "report.json").read_text())
    scores = []
    for number in range(3):
        truth = imread(folder / "labels" / f"eye{number}.png")
        posterior = segment(
            checkpoint, read_scan(folder / "images" / f"eye{number}.png"), 3, device="cpu"
        )
        scores.append(overlap(posterior.labels, truth, 2)[0][0])
    (dsc,) = [f for f in found["figures"] if f["metric"] == "DSC"]
    assert dsc["value"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert found["settings"]["samples"] == 3
    scores = {f["detail"] for f in found["figures"] if f["metric"] == "AUROC"}
    assert {"sample SD", "predictive SD"} <= scores


def test_the_networks_are_described_without_what_they_do_not_have(checkpoint):
    shown = command("info", checkpoint.path)
    assert "velocity" not in shown and "for uncertainty" not in shown
    if checkpoint.metadata.diffdgss is None:
        assert "unet, deterministic" in shown and "schedule" not in shown
    else:
        assert "diffdgss, anchored inversion, times 1, 50, 500" in shown


@pytest.fixture
def configuration(photographs, tmp_path):
    """Factory: write a configuration of both stages beside a folder with two images of which one is new."""
    folder, _ = photographs
    more = tmp_path / "more"
    more.mkdir()
    for name in ("eye0.png", "other.png"):
        shutil.copy(folder / "images" / "eye0.png", more / name)

    def write(**changes):
        sizes = {k: list(v) if isinstance(v, tuple) else v for k, v in FIELDS["diffdgss"].items()}
        given = {
            "name": "eyes",
            "data": {"folder": "data", "unlabelled": "more", "validation": 0.34},
            "channels": ["red", "green", "blue"],
            "classes": ["background", "vessel"],
            "grid": {"size": [48, 64], "keep_shape": True},
            "intensity": {"method": "fundus"},
            "networks": "diffdgss",
            "architecture": sizes,
            "training": {
                **{"updates": 6, "diffusion_updates": 3, "patch": 32, "batch_size": 2},
                "precision": "32-true",
            },
        }
        path = tmp_path / "eyes.yaml"
        path.write_text(yaml.safe_dump(given | changes))
        return path

    return write


def test_images_of_held_out_patients_are_never_trained_on(tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    for name in ("p1_left", "p2_left", "p3_left", "p3_right_0000", "other"):
        (folder / f"{name}.png").touch()
    settings = DataSettings(folder=tmp_path, unlabelled=(folder,), patient=r"(p\d)_")
    labelled = [Case(n, n[:2], lambda: None, ()) for n in ("p1_right", "p2_right", "p3_right")]
    found = find_unlabelled(settings, labelled, labelled[:1])
    assert [case.name for case in found] == ["other", "p2_left", "p3_left"]


def test_images_without_labels_take_part_in_a_run(configuration, tmp_path):
    path = configuration()
    command("train", path, "-o", tmp_path / "run", "--accelerator", "cpu")
    metadata = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").metadata
    assert metadata.training.split.endswith("; 1 image without labels")
    assert (tmp_path / "run" / "status.json").is_file()
    # The resolved configuration finds the same images from anywhere.
    assert read_config(tmp_path / "run" / "config.yaml").data.unlabelled == (tmp_path / "more",)


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"training": {"updates": 6}},
            "data.unlabelled needs training.diffusion_updates of diffdgss networks",
        ),
        (
            {"data": {"folder": "data", "unlabelled": "none"}},
            "none does not exist; correct data in the configuration",
        ),
        (
            {"data": {"folder": "data", "unlabelled": "data/images"}},
            "images holds no image without a label of a patient who is not held out",
        ),
    ],
)
def test_images_without_labels_that_cannot_be_used(
    configuration, tmp_path, changes, words, assert_sentence
):
    done = CliRunner().invoke(
        app, ["train", str(configuration(**changes)), "-o", str(tmp_path / "run")]
    )
    assert done.exit_code == 1 and words in " ".join(done.stderr.split()), done.output
    assert_sentence(done.stderr.strip().splitlines()[-1])
