"""The project's models: their parents, which one is used, and how they differ."""

import json
import shutil

import pytest

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.file import save_checkpoint
from napari_ldseg.checkpoint.metadata import Metric, TrainingRecord
from napari_ldseg.errors import LDSegError
from napari_ldseg.finetuning.comparison import CaseChange, Comparison
from napari_ldseg.finetuning.config import FineTuningConfig, write_config
from napari_ldseg.finetuning.model_store import ModelStore
from napari_ldseg.finetuning.plan import suggest_model_name
from napari_ldseg.server.catalogue import Catalogue
from napari_ldseg.training.run_folder import RunFolder, Status
from napari_ldseg.utils.hashing import sha256_of


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "project")


@pytest.fixture
def add(store, tiny_checkpoint):
    """Factory: save a tiny checkpoint among the project's models; return its path."""

    def make(name, parent=None, **changes):
        record = TrainingRecord(
            data="2 cases",
            licence="as the images",
            split="training",
            parent_name=parent.stem if parent else "",
            settings={"learning_rate": changes.pop("rate", 1e-3)},
        )
        checkpoint = tiny_checkpoint(
            name=name, parent=sha256_of(parent) if parent else None, training=record, **changes
        )
        return save_checkpoint(checkpoint, store.folder / f"{name}.safetensors")

    return make


def shape(nodes):
    return {node.name: shape(node.children) for node in nodes}


def test_an_empty_project_has_no_models(store):
    assert store.entries() == [] and store.tree() == [] and store.adopted is None


def test_children_hang_on_their_bundled_base(store, add):
    base = bundled_checkpoints()["echo-phantom"]
    first = add("echo-2", base)
    add("echo-3", first)
    add("echo-4", first)
    add("alone")
    assert shape(store.tree()) == {
        "echo-phantom": {"echo-2": {"echo-3": {}, "echo-4": {}}},
        "alone": {},
    }
    (root, _) = store.tree()
    assert root.entry.bundled and root.entry.path == base
    assert len(store.entries()) == 5


def test_a_model_that_is_being_written_is_none_yet(store, add):
    path = add("echo-2")
    part = path.with_name(f".{path.name}.0123abcd.safetensors")
    part.write_bytes(path.read_bytes())
    assert [entry.path for entry in store.entries()] == [path]
    found = Catalogue(folders=(store.folder,), bundled=False).models()
    assert [model.path for model in found.values()] == [path]
    assert suggest_model_name(store.project, "echo") == "echo-3"


def test_a_base_from_elsewhere_is_found_by_the_run_that_used_it(
    store, add, tiny_checkpoint, tmp_path
):
    base = save_checkpoint(tiny_checkpoint(name="theirs"), tmp_path / "theirs.safetensors")
    classes = tiny_checkpoint().metadata.classes
    run = store.project / "training" / "2026-01-01-000000-mine"
    run.mkdir(parents=True)
    config = FineTuningConfig(
        project=store.project, base=base, name="mine", classes=classes, cases=("a",)
    )
    write_config(run, config)
    RunFolder(run).write_status(Status(phase="finished"))
    add("mine", base)
    (root,) = store.tree()
    assert root.entry.path == base and shape([root]) == {"theirs": {"mine": {}}}
    base.unlink()
    (root,) = store.tree()
    assert root.entry is None and shape([root]) == {"theirs": {"mine": {}}}


def test_adopting_and_rolling_back_are_kept_with_their_time(store, add):
    base = bundled_checkpoints()["echo-phantom"]
    one, two = add("one", base), add("two", base)
    assert not store.decided(one)
    store.adopt(one)
    store.decline(two)
    assert store.adopted == one and store.decided(two)
    store.adopt(two)
    assert store.adopted == two
    store.adopt(one)
    assert [e.path for e in store.entries() if e.adopted] == [one]
    store.adopt(base)
    assert ModelStore(store.project).adopted == base
    history = json.loads((store.folder / "adopted.json").read_text())["decisions"]
    assert [(d["model"], d["used"]) for d in history] == [
        ("models/one.safetensors", True),
        ("models/two.safetensors", False),
        ("models/two.safetensors", True),
        ("models/one.safetensors", True),
        ("bundled:echo-phantom", True),
    ]
    assert all(d["when"].startswith("20") and d["sha256"] for d in history)


def test_a_moved_project_keeps_its_adopted_model(store, add, tmp_path):
    store.adopt(add("one"))
    moved = shutil.move(store.project, tmp_path / "elsewhere")
    assert (
        ModelStore(tmp_path / "elsewhere").adopted == tmp_path / "elsewhere/models/one.safetensors"
    )
    assert moved


def test_a_model_that_is_gone_is_not_adopted_and_others_stay(store, add):
    one, two = add("one"), add("two", rate=1e-4)
    store.adopt(one)
    one.unlink()
    (store.folder / "junk.safetensors").write_bytes(b"junk")
    assert store.adopted is None
    assert [e.path for e in store.entries()] == [two]


def test_comparing_names_only_what_differs(store, add):
    def metric(value):
        measured = {"split": "validation", "cases": 9, "samples": 1, "steps": 2}
        return (Metric(name="DSC", class_name="organ", value=value, **measured),)

    one, two = add("one", metrics=metric(0.8)), add("two", metrics=metric(0.9), rate=1e-4)
    rows = {row.what: row[1:] for row in store.compare(one, two)}
    assert rows == {
        "DSC organ (validation, 1 sample, 2 steps)": ("0.800 (9 cases)", "0.900 (9 cases)"),
        "setting learning_rate": ("0.001", "0.0001"),
    }


def test_the_measured_change_is_read_beside_the_model(store, add):
    path = add("one")
    assert store.comparison(path) is None
    change = CaseChange(case="a", patient="a", before=(0.5,), after=(0.7,))
    compared = Comparison(base="b", name="one", classes=("background", "x"), changes=(change,))
    path.with_suffix(".json").write_text(compared.model_dump_json())
    assert store.comparison(path) == compared


def test_exports_are_complete_and_never_the_model_itself(store, add, tmp_path, assert_sentence):
    one = add("one")
    out = store.export(one, tmp_path / "out")
    assert out.name == "out.safetensors" and out.read_bytes() == one.read_bytes()
    with pytest.raises(LDSegError) as error:
        store.export(one, one)
    assert_sentence(error, "choose another place")
    (tmp_path / "file").write_text("")
    with pytest.raises(LDSegError) as error:
        store.export(one, tmp_path / "file" / "out.safetensors")
    assert_sentence(error, "could not be written")


def test_a_broken_history_is_told_and_not_overwritten(store, add, assert_sentence):
    one = add("one")
    (store.folder / "adopted.json").write_text("{")
    with pytest.raises(LDSegError) as error:
        store.adopt(one)
    assert_sentence(error, "adopted.json", "not valid")
    assert (store.folder / "adopted.json").read_text() == "{"
