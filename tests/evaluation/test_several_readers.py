"""Masks of several readers for the same images: the converter, and a training run with all of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import load_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings

from ..discs import WIDTHS, disc

ROOT = Path(__file__).parents[2]
READERS = ("reader1", "reader2", "reader3")


def convert(npz, folder, *options):
    line = [sys.executable, ROOT / "scripts" / "lidc_readers.py", npz, folder, *options]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """An npz of 14 images of 7 patients, 20 pixels wide; the third reader saw nothing."""
    pairs = [disc(2, seed) for seed in range(14)]
    wide = ((0, 0), (0, 4))
    images = np.stack([np.pad(scan.array.clip(0, 1) * 255, wide) for scan, _ in pairs])
    images, first = images.astype(np.uint8), np.stack([np.pad(label, wide) for _, label in pairs])
    masks = np.stack([first, np.roll(first, 1, axis=2), np.zeros_like(first)], axis=1)
    names = [f"p{number // 2}_slice-{number % 2}" for number in range(14)]
    path = tmp_path_factory.mktemp("crops") / "crops.npz"
    np.savez(path, images=images, masks=np.packbits(masks, axis=-1), name=names)
    return path, images, masks, names


@pytest.fixture(scope="module")
def folder(crops, tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers") / "data"
    answer = convert(crops[0], folder)
    assert answer.returncode == 0, answer.stderr
    assert "[reader1, reader2, reader3]" in answer.stdout
    return folder


def test_the_converted_folder_holds_every_readers_mask(crops, folder):
    _, images, masks, names = crops
    cases = find_cases(DataSettings(folder=folder, labels=READERS, patient=r"(p\d+)_"))
    assert [case.name for case in cases] == names
    assert len({case.patient for case in cases}) == 7
    for case, image, of_readers in zip(cases, images, masks, strict=True):
        np.testing.assert_array_equal(case.read_scan().array, image)
        np.testing.assert_array_equal([read() for read in case.read_labels], of_readers)
        # A voxel that two of three readers have is in the expert's label.
        np.testing.assert_array_equal(case.read()[1], of_readers.sum(0) >= 2)


def test_the_centre_of_the_crops(crops, tmp_path):
    path, images, masks, _ = crops
    assert convert(path, tmp_path / "data", "--centre", "8").returncode == 0
    case = find_cases(DataSettings(folder=tmp_path / "data", labels=READERS, patient=r"(p\d+)_"))[0]
    top, left = ((side - 8) // 2 for side in images.shape[1:])
    part = np.s_[..., top : top + 8, left : left + 8]
    np.testing.assert_array_equal(case.read_scan().array, images[0][part])
    np.testing.assert_array_equal([read() for read in case.read_labels], masks[0][part])
    answer = convert(path, tmp_path / "larger", "--centre", "80")
    assert answer.returncode == 1 and "--centre must fit" in answer.stderr
    assert not (tmp_path / "larger").exists()


def test_a_damaged_or_second_conversion_is_one_sentence(crops, folder, tmp_path):
    again = convert(crops[0], folder)
    assert again.returncode == 1 and "is not empty" in again.stderr
    arrays = dict(np.load(crops[0]))
    changes = {
        "masks": arrays["masks"][:, :, :, :2],
        "name": np.array(["../outside", *arrays["name"][1:]]),
    }
    for key, wrong in changes.items():
        np.savez(tmp_path / "wrong.npz", **arrays | {key: wrong})
        answer = convert(tmp_path / "wrong.npz", tmp_path / "out")
        assert answer.returncode == 1 and answer.stderr.startswith("Error: ")
        assert "Traceback" not in answer.stderr and not (tmp_path / "out").exists()
    (tmp_path / "no.npz").write_bytes(b"no archive")
    assert "cannot be read" in convert(tmp_path / "no.npz", tmp_path / "out").stderr


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps", "without_plots")
def test_a_run_with_several_readers_measures_their_agreement(folder, tmp_path):
    sizes = {key: list(value) for key, value in WIDTHS.items() if isinstance(value, tuple)}
    settings = {
        "name": "crops",
        "data": {
            "folder": str(folder),
            "labels": list(READERS),
            "patient": r"(p\d+)_",
            "validation": 0.2,
            "test": 0.2,
        },
        "classes": ["background", "disc"],
        "grid": {"size": [16, 16]},
        "intensity": {"method": "min-max"},
        "architecture": {**sizes, "latent_channels": 2, "denoiser_blocks": 1},
        "training": {"updates": 2, "batch_size": 2, "precision": "32-true"},
    }
    config = tmp_path / "crops.yaml"
    config.write_text(yaml.safe_dump(settings))
    answer = CliRunner().invoke(app, ["train", str(config), "-o", str(tmp_path / "run")])
    assert answer.exit_code == 0, answer.output
    metadata = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").metadata
    agreement = {m.name: m for m in metadata.metrics if m.samples == 16}
    assert set(agreement) == {"GED²", "matched IoU"}
    assert agreement["GED²"].steps == metadata.posterior_steps
    assert agreement["GED²"].cases == 2 and agreement["GED²"].split == "test"
