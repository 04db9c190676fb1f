"""The command line with a model for photographs of the retina: segment, report, evaluate, info."""

import csv
import json

import numpy as np
import pytest
import torch
from skimage.io import imread, imsave
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import Checkpoint, build_model, save_checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.cli import app
from napari_ldseg.evaluation.overlap import overlap
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.files import read_scan

from ..inference.test_diffdgss import FIELDS
from ..model.test_fast import randomise
from ..training.test_learning import UNET

FAMILIES = {"diffdgss": {}, "unet": UNET | {"label_steps": 1, "posterior_steps": 1}}
SHAPE = (70, 90)


@pytest.fixture(params=FAMILIES)
def checkpoint(request, tmp_path):
    torch.manual_seed(0)
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
    assert any(f.get("detail") == "predictive SD" for f in found["figures"])


def test_the_networks_are_described_without_what_they_do_not_have(checkpoint):
    shown = command("info", checkpoint.path)
    assert "velocity" not in shown and "for uncertainty" not in shown
    if checkpoint.metadata.diffdgss is None:
        assert "unet, deterministic" in shown and "schedule" not in shown
    else:
        assert "diffdgss, anchored inversion, times 1, 50, 500" in shown
