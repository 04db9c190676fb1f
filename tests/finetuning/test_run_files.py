"""The files of runs that other programs may have changed: broken ones count as absent."""

import json

import numpy as np
import pytest

from napari_ldseg.errors import LDSegError
from napari_ldseg.finetuning import retrain as module
from napari_ldseg.finetuning.plan import (
    SPEED,
    Speed,
    read_speeds,
    remember_speed,
    suggest_model_name,
)

BROKEN = [
    "[]",
    "1",
    '"x"',
    "[" * 100_000,
    "\xff",
    '{"k": []}',
    '{"k": {"fixed": NaN, "update": 1}}',
]


@pytest.mark.parametrize("content", BROKEN)
def test_broken_speeds_are_replaced(tmp_path, content):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / SPEED).write_bytes(content.encode("latin-1"))
    assert read_speeds(tmp_path) == {}
    remember_speed(tmp_path, "key", Speed(fixed=1, update=2))
    assert read_speeds(tmp_path) == {"key": Speed(fixed=1, update=2)}


def test_a_speed_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "training").write_text("a file in the folder's place")
    remember_speed(tmp_path, "key", Speed(fixed=1, update=2))


@pytest.mark.parametrize("content", ["[]", "[" * 100_000, '{"name": ["x"]}', '{"name": "m-2"}'])
def test_broken_configurations_take_no_name(tmp_path, content):
    folder = tmp_path / "training" / "run"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(content)
    assert suggest_model_name(tmp_path, "m") == "m-2"


@pytest.mark.parametrize(
    "content",
    ["[]", '{"one": 3}', '{"one": [0.5, 0.5]}', '{"two": [0.5]}', '{"one": ["x"]}', "[" * 9999],
)
def test_broken_scores_of_the_base_are_measured_again(tmp_path, monkeypatch, content):
    class One:
        name = "one"

    class Reporter:
        def counter(self, *_):
            return None

    def measured(*_, **__):
        return np.array([[[0.25]]])

    monkeypatch.setattr(module, "evaluate", measured)
    (tmp_path / module.BASE_SCORES).write_text(content)
    arguments = (tmp_path, object(), [One()], ["background", "a"], "cpu", Reporter())
    assert module._score_base(*arguments) == {"one": [0.25]}
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: pytest.fail())
    assert module._score_base(*arguments) == {"one": [0.25]}
    assert json.loads((tmp_path / module.BASE_SCORES).read_text()) == {"one": [0.25]}


def test_a_full_disk_after_the_model_is_saved_fails_nothing(tmp_path, monkeypatch):
    """A resumed run whose model is complete ends well, even if its comparison cannot be written."""
    (tmp_path / "run").mkdir()
    saved = {"file": "m.safetensors", "trained": "now"}
    (tmp_path / "run" / module.SAVED_MODEL).write_text(json.dumps(saved))

    class Metadata:
        class training:
            trained = "now"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "read_metadata", lambda path: Metadata)
    monkeypatch.setattr(module, "read_comparison", full)
    found = module._already_saved(tmp_path / "run", tmp_path / "models")
    assert found == tmp_path / "models" / "m.safetensors"
    saved = {"file": "../m.safetensors", "trained": "now"}
    (tmp_path / "run" / module.SAVED_MODEL).write_text(json.dumps(saved))
    assert module._already_saved(tmp_path / "run", tmp_path / "models") is None


def test_the_comparison_is_written_before_the_model(tmp_path, monkeypatch, tiny_checkpoint):
    """Nothing that can fail comes after the model: a full disk leaves no finished model of a failed run."""
    comparison = module.Comparison(base=None, name="m", classes=("a",), changes=())

    def save(checkpoint, path):
        assert (tmp_path / "run" / module.COMPARISON).exists()
        return path

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(module, "save_checkpoint", save)
    path = module._save_model(tmp_path / "run", tmp_path / "models", tiny_checkpoint(), comparison)
    assert path == tmp_path / "models" / "m.safetensors"
    (tmp_path / "run" / module.COMPARISON).unlink()
    (tmp_path / "run" / module.COMPARISON).mkdir()
    monkeypatch.setattr(module, "save_checkpoint", lambda *_: pytest.fail())
    with pytest.raises(LDSegError):
        module._save_model(tmp_path / "run", tmp_path / "models", tiny_checkpoint(), comparison)
