"""The one way of a checkpoint into the package."""

import subprocess
import sys

import bundle_checkpoint
import pytest
from bundle_checkpoint import bundle

from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Metric, TrainingRecord
from napari_ldseg.errors import LDSegError

NAME = "mri-phantom"
FOLDER = "napari_ldseg/checkpoints"
METRIC = Metric(
    name="DSC", class_name="class 1", value=0.877, split="test", cases=9, samples=1, steps=2
)
RECORD = TrainingRecord(
    data="Data of nobody",
    licence="CC BY 3.0",
    split="8 training and 9 test cases",
    updates=10,
    settings={"batch_size": 4},
)


@pytest.fixture
def model(tiny_checkpoint, tmp_path):
    """Factory of checkpoint files that may be bundled but for the keywords."""

    def make(record=RECORD, file="trained.safetensors", **changes):
        fields = {"name": NAME, "metrics": (METRIC,), "training": record}
        return save_checkpoint(tiny_checkpoint(**fields | changes), tmp_path / file)

    return make


def changed(**fields):
    return RECORD.model_copy(update=fields)


def test_it_is_copied_and_gets_its_card(repository, model):
    source = model()
    target = bundle(source, repository.folder)
    assert target == repository.folder / FOLDER / f"{NAME}.safetensors"
    assert target.read_bytes() == source.read_bytes()
    assert load_checkpoint(target).metadata.name == NAME
    card = target.with_suffix(".md").read_text(encoding="utf-8")
    for part in (f"# {NAME}", "Data of nobody", "CC BY 3.0", RECORD.split, "0.877"):
        assert part in card
    assert sorted(path.name for path in target.parent.iterdir()) == [f"{NAME}.md", target.name]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"metrics": ()}, "no metrics"),
        ({"record": changed(licence="not stated")}, "licence"),
        ({"record": changed(licence="Not stated; ask the authors.")}, "licence"),
        ({"record": changed(split=" ")}, "split"),
        ({"record": changed(cases={"Jane Doe": "0" * 64})}, "identify patients"),
        ({"name": "../escaped"}, "lower-case"),
        ({"name": "unheard-of"}, "model_cards.py"),
    ],
)
def test_what_lacks_something_is_refused(repository, model, assert_sentence, changes, words):
    with pytest.raises(LDSegError) as error:
        bundle(model(**changes), repository.folder)
    assert_sentence(error, words)
    assert not (repository.folder / FOLDER).exists()


def test_a_damaged_file_is_refused(repository, model):
    source = model()
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(LDSegError, match="damaged"):
        bundle(source, repository.folder)
    assert not (repository.folder / FOLDER).exists()


def test_a_big_file_is_refused(repository, model, monkeypatch, assert_sentence):
    source = model()
    monkeypatch.setattr(bundle_checkpoint, "MAX_CHECKPOINT_BYTES", source.stat().st_size)
    with pytest.raises(LDSegError) as error:
        bundle(source, repository.folder)
    assert_sentence(error, source.name, "MB")


def test_it_changes_at_most_once_per_release(repository, model, assert_sentence):
    first, second, third = (
        model(file=f"{i}.safetensors", description=f"Version {i}.") for i in (1, 2, 3)
    )
    target = bundle(first, repository.folder)
    bundle(second, repository.folder)  # Nothing was committed yet.
    repository.commit(FOLDER)
    with pytest.raises(LDSegError) as error:
        bundle(third, repository.folder)
    assert_sentence(error, target.name, "before the first release", "once per release")
    assert target.read_bytes() == second.read_bytes()
    repository.release("v0.1.0")
    bundle(third, repository.folder)
    assert target.read_bytes() == third.read_bytes()
    assert "Version 3." in target.with_suffix(".md").read_text(encoding="utf-8")
    repository.commit(FOLDER)
    with pytest.raises(LDSegError, match=r"since v0\.1\.0"):
        bundle(first, repository.folder)


@pytest.mark.slow
def test_a_refusal_is_one_line_without_a_traceback(tmp_path):
    answer = subprocess.run(
        [sys.executable, bundle_checkpoint.__file__, str(tmp_path / "missing.safetensors")],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1 and answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1 and "missing.safetensors" in answer.stderr
