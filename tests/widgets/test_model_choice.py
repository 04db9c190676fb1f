"""What the line under the list of models says of the chosen one."""

import numpy as np
import pytest
from qtpy.QtWidgets import QLabel

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.metadata import TrainingRecord
from napari_ldseg.scans.scan import Scan
from napari_ldseg.widgets.common.model_choice import ModelChoice


@pytest.fixture
def choice(qtbot):
    widget = ModelChoice()
    qtbot.addWidget(widget)
    return widget


def line(choice):
    return " ".join(label.text() for label in choice.findChildren(QLabel))


@pytest.mark.parametrize(
    "name, forbidden",
    [("camus", True), ("glas", True), ("hippocampus", False), ("lidc", False)],
)
def test_a_bundled_model_for_non_commercial_use_says_so(choice, name, forbidden):
    choice.choose(bundled_checkpoints()[name])
    assert "DSC" in line(choice)
    assert ("non-commercial use only" in line(choice)) == forbidden


def test_a_model_of_the_users_own_says_so_too(choice, model_file):
    record = TrainingRecord(data="none", licence="For research purposes only.", split="none")
    choice.choose(model_file(training=record))
    assert "non-commercial use only" in line(choice)


def test_the_projects_model_of_several_channels_is_for_the_layer_of_one(choice, model_file):
    scan = Scan(np.random.default_rng(0).random((20, 20, 20)))
    path = model_file(3, channels=2)
    choice.offer(path)
    choice.suggest(scan)
    assert choice.path == path
