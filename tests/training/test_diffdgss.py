"""Training of the DiffDGSS family in its two stages, through the one training loop."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.datasets.case import Case
from napari_ldseg.errors import LDSegError
from napari_ldseg.model.diffdgss.losses import stage_of
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.data import CaseDataset
from napari_ldseg.training.loop import train
from napari_ldseg.training.run_folder import TrainingStopped
from napari_ldseg.training.settings import Augmentation, TrainingSettings

from ..discs import equal
from ..inference.test_diffdgss import FIELDS

STRONG = Augmentation(flip_axes=(0, 1), rotation=1.6, scale=0.25, shift=0, noise=0.1, colour=0.15)
SETTINGS = {
    "updates": 9,
    "diffusion_updates": 4,
    "patch": 32,
    "batch_size": 2,
    "learning_rate": 3e-3,
    "precision": "32-true",
    "augmentation": STRONG,
}


def photograph(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A round field with dark lines on it, and the lines."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 32) ** 2 + (columns - 32) ** 2 < 28**2
    lines = disc & ((rows + seed * columns // 3) % 11 < 3)
    grey = rng.normal(140, 4, (64, 64)) - 70 * lines
    image = np.where(disc, grey, 10)[..., None] * [1, 0.7, 0.4]
    return image.astype(np.uint8), lines.astype(np.uint8)


def fundus_case(seed: int) -> Case:
    image, lines = photograph(seed)
    read = partial(Scan, image, channels=True)
    return Case(f"eye{seed}", f"eye{seed}", read, (lambda: lines,))


@pytest.fixture
def metadata() -> Metadata:
    return Metadata.model_validate(FIELDS)


CASES = [fundus_case(seed) for seed in range(1, 4)]


def test_first_the_diffusion_network_is_trained_and_then_the_interpreter(metadata):
    changed = []
    last: dict = {}

    def remember(checkpoint):
        now = checkpoint.model.state_dict()
        changed.append(
            {k.split(".")[0] for k, v in now.items() if not torch.equal(v, last.get(k, v))}
        )
        last.update({k: v.clone() for k, v in now.items()})

    settings = TrainingSettings(**SETTINGS | {"validate_every": 1})
    losses = []
    train(
        metadata,
        CASES,
        CASES[:1],
        settings,
        on_validation=remember,
        on_progress=lambda progress: losses.append(progress.loss),
    )
    assert [loss.dice > 0 for loss in losses] == [False] * 4 + [True] * 5
    assert all(loss.noise > 0 for loss in losses[:4])
    # Validations start with the interpreter's updates; the diffusion network then stays as it is.
    assert changed == [set()] + [{"interpreter"}] * 4


def test_images_without_labels_train_the_diffusion_network_alone(metadata, tmp_path):
    update, seen = [1], {"labelled": set(), "unlabelled": set()}

    def watched(case, kind):
        def read():
            seen[kind].add(update[0])
            return case.read_scan()

        labels = case.read_labels if kind == "labelled" else ()
        return replace(case, read_scan=read, read_labels=labels)

    settings = TrainingSettings(
        **SETTINGS | {"cache_gib": 0, "updates": 12, "diffusion_updates": 6}
    )
    labelled, others = [watched(CASES[0], "labelled")], [watched(c, "unlabelled") for c in CASES]
    arguments = {
        "unlabelled": others,
        "on_progress": lambda progress: update.__setitem__(0, progress.update + 1),
    }
    whole = train(metadata, labelled, [], settings, **arguments)
    assert seen["unlabelled"] and max(seen["unlabelled"]) <= 6
    assert {7, 8, 9, 10, 11, 12} <= seen["labelled"]
    without = train(metadata, labelled, [], settings)
    assert not equal(without, whole)
    for stop_after in (4, 5):  # in each of the stages
        asked = []
        stopped = {"stop": lambda asked=asked, n=stop_after: asked.append(1) or len(asked) >= n}
        with pytest.raises(TrainingStopped):
            train(
                *(metadata, labelled, [], settings),
                **arguments | stopped,
                folder=tmp_path,
                resume=True,
            )
    with pytest.raises(LDSegError, match="other settings, cases"):
        train(metadata, labelled, [], settings, folder=tmp_path, resume=True)
    resumed = train(metadata, labelled, [], settings, **arguments, folder=tmp_path, resume=True)
    assert equal(resumed, whole)


def test_a_resumed_run_gives_the_same_weights(metadata, tmp_path):
    settings = TrainingSettings(**SETTINGS)
    whole = train(metadata, CASES, [], settings)
    for stop_after in (3, 3):
        asked = []
        with pytest.raises(TrainingStopped):
            train(
                metadata,
                CASES,
                [],
                settings,
                folder=tmp_path,
                resume=True,
                stop=lambda asked=asked, n=stop_after: asked.append(1) or len(asked) >= n,
            )
    assert equal(train(metadata, CASES, [], settings, folder=tmp_path, resume=True), whole)


def test_a_sample_is_a_patch_of_the_field_of_view_and_the_surround_does_not_count(metadata):
    dataset = CaseDataset(metadata, CASES, STRONG, 0, patch=32)
    samples = [dataset[epoch, index] for epoch in range(4) for index in range(3)]
    for sample in samples:
        assert sample["image"].shape == sample["noise"].shape == (3, 32, 32)
        inside = sample["reviewed"][0].bool()
        assert (sample["image"][:, inside] > 0).all() and (sample["image"][:, ~inside] == 0).all()
        assert not sample["label"][0][~inside].any()
    assert 0.3 < np.mean([s["reviewed"].float().mean() for s in samples]) < 1
    assert 0 < np.mean([s["label"].float().mean() for s in samples]) < 0.5
    assert not torch.equal(samples[0]["image"], samples[3]["image"])
    assert torch.equal(samples[0]["image"], dataset[0, 0]["image"])


def test_the_stages_of_a_run():
    stages = [stage_of(update, 50, 10) for update in range(1, 51)]
    assert stages == ["diffusion"] * 10 + ["expert"] * 38 + ["weighting"] * 2


def test_settings_that_leave_no_interpreter_or_are_for_other_networks_are_refused(
    metadata, disc_metadata
):
    with pytest.raises(LDSegError, match="no updates for the interpreter"):
        train(metadata, CASES, [], TrainingSettings(**SETTINGS | {"diffusion_updates": 9}))
    with pytest.raises(LDSegError, match="diffdgss networks only"):
        train(disc_metadata(2), CASES, [], TrainingSettings(**SETTINGS))


def test_end_to_end_training_also_changes_the_diffusion_network(metadata):
    frozen, end_to_end = (
        train(metadata, CASES, [], TrainingSettings(**SETTINGS | {"end_to_end": value}))
        for value in (False, True)
    )
    pairs = zip(
        frozen.model.diffusion.parameters(), end_to_end.model.diffusion.parameters(), strict=True
    )
    assert not all(torch.equal(a, b) for a, b in pairs)
