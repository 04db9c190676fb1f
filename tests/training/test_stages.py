"""LDSeg in two stages: the label encoder and decoder first, then the diffusion between them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import load_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.errors import LDSegError
from napari_ldseg.training.log import read_log
from napari_ldseg.training.loop import train
from napari_ldseg.training.run import CHECKPOINT
from napari_ldseg.training.run_folder import TrainingStopped

from ..discs import WIDTHS, discs, equal, settings, write_discs
from ..forked import Command
from .test_training import Spy
from .test_training_run import configuration

AUTOENCODER = {"label_encoder", "label_decoder"}
DIFFUSION = {"image_encoder", "denoiser"}
STAGES = {"updates": 9, "autoencoder_updates": 4}


def networks_changed(before, after):
    return {k.split(".")[0] for k, v in after.items() if not torch.equal(v, before[k])}


def test_first_the_autoencoder_is_trained_and_then_the_diffusion(disc_metadata):
    spy, weights, losses, rates = Spy(devices=1, accelerator="cpu"), [], [], []

    def remember(progress):
        weights.append({k: v.clone() for k, v in spy.module.model.state_dict().items()})
        losses.append(progress.loss)
        rates.append(progress.learning_rate)

    given = settings(**STAGES, lambda_=0.5, ema_decay=0.5, warmup=1)
    result = train(disc_metadata(2), discs(2, 4), [], given, fabric=spy, on_progress=remember)
    changes = [networks_changed(*pair) for pair in pairwise(weights)]
    assert changes == [AUTOENCODER] * 3 + [DIFFUSION] * 5
    for loss in losses[:4]:
        assert loss.noise == 0 and loss.total == pytest.approx(loss.cross_entropy + 2 * loss.dice)
    for loss in losses[4:]:
        assert loss.dice == loss.cross_entropy == 0 and loss.total == pytest.approx(loss.noise / 2)
    assert rates[4] == rates[0] > 2 * rates[3]  # the schedule begins anew
    returned = result.model.state_dict()
    assert networks_changed(weights[3], returned) == DIFFUSION


def test_the_average_of_each_stage_is_its_own(disc_metadata):
    spy, raw = Spy(devices=1, accelerator="cpu"), []

    def remember(_):
        raw.append({k: v.clone() for k, v in spy.module.model.state_dict().items()})

    given = settings(updates=6, autoencoder_updates=3, ema_decay=0.3)
    result = train(disc_metadata(2), discs(2, 4), [], given, fabric=spy, on_progress=remember)
    for key, value in result.model.state_dict().items():
        first, *others = raw[3:] if key.split(".")[0] in DIFFUSION else raw[:2]
        expected = first[key]
        for update, memory in zip(others, (2 / 11, 3 / 12), strict=False):
            expected = memory * expected + (1 - memory) * update[key]
        if key.split(".")[0] in DIFFUSION:
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)
        else:  # raw[2] already has the averaged weights of the third update
            assert torch.equal(value, raw[2][key]) and not torch.equal(value, expected)


@pytest.mark.parametrize("stops", [(3, 3), (4, 2)], ids=["in each stage", "between the stages"])
def test_a_resumed_run_gives_the_same_weights(disc_metadata, tmp_path, stops):
    run, given = (disc_metadata(2), discs(2, 4), []), settings(**STAGES)
    whole = train(*run, given)
    for stop_after in stops:
        asked = []
        with pytest.raises(TrainingStopped):
            train(
                *run,
                given,
                folder=tmp_path,
                resume=True,
                stop=lambda asked=asked, n=stop_after: asked.append(1) or len(asked) >= n,
            )
    assert equal(train(*run, given, folder=tmp_path, resume=True), whole)


@pytest.mark.slow
def test_each_stage_learns(disc_metadata):
    losses = []
    given = settings(updates=90, autoencoder_updates=40, batch_size=8)
    train(
        disc_metadata(2),
        discs(2, 8),
        [],
        given,
        on_progress=lambda progress: losses.append(progress.loss.total),
    )
    for stage in losses[:40], losses[40:]:
        assert np.mean(stage[-5:]) < 0.7 * np.mean(stage[:5])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"autoencoder_updates": 9}, "no updates for the diffusion"),
        ({"fixed": ("label_encoder", "label_decoder")}, "fixed leaves one of the two stages"),
        ({"fixed": ("image_encoder", "denoiser")}, "fixed leaves one of the two stages"),
    ],
)
def test_stages_with_nothing_to_train_are_refused(disc_metadata, changes, words, assert_sentence):
    with pytest.raises(LDSegError) as error:
        train(disc_metadata(2), discs(2, 2), [], settings(**STAGES | changes))
    assert_sentence(error, words)


def test_other_networks_have_no_autoencoder(tiny_metadata, assert_sentence):
    metadata = tiny_metadata(2, networks="res-unet", architecture={"image_widths": (8, 16, 16)})
    with pytest.raises(LDSegError) as error:
        train(metadata, discs(2, 2), [], settings(**STAGES))
    assert_sentence(error, "autoencoder_updates is for LDSeg networks only")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"autoencoder_updates": 3}},
        {"networks": "diffdgss", "training": {"diffusion_updates": 3}},
        {"networks": "diffdgss", "training": {"end_to_end": True}},
    ],
    ids=["autoencoder", "diffusion", "end to end"],
)
@pytest.mark.usefixtures("without_plots", "few_steps")
def test_two_processes_train_in_stages(changes, tmp_path):
    sizes = {k: list(v) if isinstance(v, tuple) else v for k, v in WIDTHS.items()}
    if "networks" in changes:
        sizes = {"widths": [8, 8, 8], "times": [1, 50]}
    training = {"updates": 6, "batch_size": 4, "validate_every": 6} | changes["training"]
    others = {k: v for k, v in changes.items() if k != "training"}
    path = configuration(write_discs(tmp_path, 20), training, architecture=sizes, **others)
    line = ["train", path, "-o", tmp_path / "two", "--accelerator", "cpu", "--devices", "2"]
    process = Command(*line)
    output = process.communicate(240)
    assert process.returncode == 0, output
    assert len(read_log(tmp_path / "two" / "log.csv")) == 6
    if changes["training"].get("autoencoder_updates"):
        answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "one")])
        assert answer.exit_code == 0, answer.stderr
        one, two = (load_checkpoint(tmp_path / name / CHECKPOINT).model for name in ("one", "two"))
        for key, value in one.state_dict().items():
            torch.testing.assert_close(two.state_dict()[key], value, rtol=1e-3, atol=2e-5)
