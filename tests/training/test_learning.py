"""The families for photographs of the retina learn through the one training loop, in each of their stages.

That LDSeg and the Res-UNet do is tested in test_training.py and test_training_run.py.
"""

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.training.loop import train
from napari_ldseg.training.settings import TrainingSettings

from ..discs import STILL
from ..inference.test_diffdgss import FIELDS
from .test_diffdgss import CASES

UNET = {
    "networks": "unet",
    "diffdgss": None,
    "architecture": FIELDS["architecture"]
    | {"label_widths": (8, 8, 12), "image_widths": (8, 8, 12), "patch": 2},
    "schedule_length": 1000,
}


@pytest.mark.parametrize(
    ("changes", "first_stage"), [(UNET, 0), ({}, 25)], ids=["unet", "diffdgss"]
)
def test_the_loss_of_each_family_falls(changes, first_stage):
    settings = TrainingSettings(
        updates=first_stage + 30,
        diffusion_updates=first_stage,
        end_to_end=first_stage > 0,
        batch_size=3,
        learning_rate=1e-2,
        warmup=2,
        patch=32,
        gamma=1.0,
        precision="32-true",
        augmentation=STILL,
    )
    losses = []
    train(
        Metadata.model_validate(FIELDS | changes),
        CASES,
        [],
        settings,
        on_progress=lambda progress: losses.append(progress.loss),
    )
    for stage in (losses[:first_stage], losses[first_stage:]):
        totals = [loss.total for loss in stage]
        assert not stage or np.mean(totals[-5:]) < 0.7 * np.mean(totals[:3])
