"""What a user is spared: a brush that hides the image, stale messages, repeated warnings."""

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_ldseg.checkpoint.bundled import bundled_checkpoints

from .conftest import click, result_layer


def values(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 99, shape).astype(np.uint8)


@pytest.fixture
def train(viewer):
    """The Train widget, docked."""
    _, train = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
    return train


@pytest.mark.parametrize("shape, size", [((35, 51), 1), ((200, 300), 6), ((9, 120, 140), 4)])
def test_the_brush_suits_the_image(viewer, widget, run, model_file, shape, size):
    viewer.add_image(values(shape))
    widget.model.choose(model_file(2, classes=3))
    run(samples=1)
    assert result_layer(viewer, "labels").brush_size == size


def test_the_former_labels_are_hidden_when_another_model_has_segmented(
    viewer, widget, run, model_file
):
    viewer.add_image(values((40, 40)), name="scan")
    widget.model.choose(model_file(2, classes=3))
    run(samples=2)
    first, uncertainty = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    widget.model.choose(model_file(2, classes=2, name="fewer", file_name="fewer.safetensors"))
    run(samples=2)
    assert first.visible and uncertainty.visible, "these classes are not the same"
    widget.model.choose(model_file(2, classes=3, name="other", file_name="other.safetensors"))
    run(samples=2)
    second = result_layer(viewer, "labels")
    assert second is not first and second.visible
    assert not first.visible and not uncertainty.visible
    first.visible = True
    run(samples=3)
    assert first.visible, "the user wants to see it"


def test_the_table_and_the_message_go_with_the_image_and_the_table_comes_back(
    viewer, widget, run, model_file
):
    first = viewer.add_image(values((40, 40)), name="first")
    widget.model.choose(model_file(2, classes=3))
    run(samples=2)
    assert widget.status.isVisible() and widget.legend.isVisible()
    second = viewer.add_image(values((40, 40), 1), name="second")
    assert widget.image.value == second
    assert not widget.legend.isVisible() and not widget.status.text()
    viewer.layers.selection.active = first
    assert widget.legend.isVisible() and "on first" in widget.legend._caption.text()


def test_an_empty_project_says_why_there_is_nothing_to_annotate(train):
    part = train.suggestions
    assert not part.search.isEnabled()
    assert part.reason.isVisible() and "no cases yet" in part.reason.text()
    assert "no cases yet" in part.search.toolTip()


def test_training_starts_from_the_model_in_use_before_there_is_a_case(
    viewer, widget, train, model_file
):
    assert train.setup.model.path == bundled_checkpoints()["camus"]
    viewer.add_image(values((40, 40, 3)), rgb=True, name="tissue")
    assert widget.model.path == bundled_checkpoints()["glas"]
    assert train.setup.model.path == bundled_checkpoints()["glas"]
    path = model_file(2, classes=3, file_name="mine.safetensors")
    widget.model.choose(path)
    assert train.setup.model.path == path


def test_a_training_tab_opened_later_starts_from_it_too(viewer, widget, model_file, request):
    viewer.add_image(values((40, 40)), name="scan")
    path = model_file(2, classes=3, file_name="mine.safetensors")
    widget.model.choose(path)
    assert request.getfixturevalue("train").setup.model.path == path


def test_a_run_does_not_repeat_the_warning_of_units(qtbot, viewer, widget, run, model_file):
    viewer.add_image(values((40, 40)), units="mm", name="known")
    viewer.add_image(values((40, 40)), name="unknown")
    qtbot.wait(300)

    def warnings():
        found = [n for n in notification_manager.records if "nconsistent units" in n.message]
        return len(found)

    before = warnings()
    assert before
    widget.model.choose(model_file(2, classes=3))
    click(widget.segment)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=30_000)
    run(samples=4)
    qtbot.wait(300)
    assert warnings() == before
