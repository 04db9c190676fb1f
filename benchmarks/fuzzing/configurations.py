"""Training configurations, and what is exchanged: dataset.json, splits, CSV, the JSON of runs and batches."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from random import Random

import numpy as np
import yaml
from PIL import Image

from napari_ldseg.batch.results import CaseResults, known_names, was_made_with
from napari_ldseg.batch.table import write_table
from napari_ldseg.datasets.description import read_description
from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.datasets.split import read_split
from napari_ldseg.finetuning.comparison import read_comparison
from napari_ldseg.finetuning.config import read_config as read_finetuning_config
from napari_ldseg.project.exchange import import_from
from napari_ldseg.project.folder import Project
from napari_ldseg.training.config import read_config
from napari_ldseg.training.log import COLUMNS, read_log
from napari_ldseg.training.run_folder import RunFolder

from .images import seeds
from .mutations import DEEP, damaged, damaged_json, damaged_tree
from .projects import template

CONFIGURATIONS = (
    {
        "name": "nuclei",
        "data": {
            "folder": "nuclei",
            "patient": "p([0-9]+)",
            "validation": 0.2,
            "split": "split.json",
        },
        "classes": ["background", {"name": "nucleus", "colour": "#3cb44b", "snomed": "84640000"}],
        "channels": ["red", "green", "blue"],
        "grid": {"size": [64, 64], "resampling": "nearest"},
        "intensity": {"method": "min-max", "jointly": True},
        "architecture": {
            "label_widths": [8, 8],
            "image_widths": [8, 8],
            "denoiser_widths": [8, 16],
        },
        "training": {
            "updates": 10,
            "learning_rate": 0.001,
            "fixed": ["label_encoder"],
            "augmentation": {"flip_axes": [0, 1], "rotation": 0.2, "stain": 0.1},
        },
    },
    {
        "name": "brain",
        "data": {"folder": "$HOME/brain", "layout": "nnunet"},
        "classes": ["background", "tumour"],
        "orientation": "SPL",
        "grid": {"spacing": [1.0, 1.0, 1.5], "minimum_size": [32, 32, 16]},
    },
)
YAML_PARTS = (
    "!!python/object/apply:os.system [true]",
    "a: &a [x, x]\nb: *a",
    "<<: {name: other}",
    "? {a: b}\n: c",
    "name: twice",
    "[" * DEEP,
    "{a: " * DEEP,
    "\t- tab",
    "name: 2026-01-31",
    "name: !!binary aGVsbG8=",
    "seed: 1:30:00",
    "--- {}\n---",
    "%YAML 9.9\n---",
    "x: " + "9" * 5000,
    "? [a, b]\n: 1",
    "~: 1",
)
LABELS_1 = {"0": "background", "1": "heart", "2": "lung"}
LABELS_2 = {"background": 0, "heart": 1, "lung": 3, "ignore": 4}


def trial(rng: Random, folder: Path, attempt) -> None:
    """Read one kind of damaged file."""
    kinds = (_configuration, _configuration, _data_set, _data_set, _split, _log, _run, _batch)
    rng.choice(kinds)(rng, folder, attempt)


def _configuration(rng: Random, folder: Path, attempt) -> None:
    content = json.loads(json.dumps(rng.choice(CONFIGURATIONS)))
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        content = damaged_tree(content, rng)
    plain = rng.random() < 0.5
    text = json.dumps(content) if plain else yaml.safe_dump(content, allow_unicode=True)
    if rng.random() < 0.2:
        lines = text.split("\n")
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(YAML_PARTS))
        text = "\n".join(lines)
    data = text.encode("utf-8", "surrogatepass")
    path = folder / "nuclei.yaml"
    path.write_bytes(damaged(data, rng) if rng.random() < 0.3 else data)
    config = attempt(read_config, path)
    if config is not None:
        attempt(config.metadata, (), "2 training cases", about=config.name)


def _data_set(rng: Random, folder: Path, attempt) -> None:
    image, label, _ = _files()
    description, suffix = rng.choice(_descriptions())
    (folder / "dataset.json").write_bytes(damaged_json(description, rng))
    for parent, files in (("imagesTr", image), ("labelsTr", label)):
        (folder / parent).mkdir()
        for name in ("heart_1", "heart_2"):
            channel = "_0000" if parent == "imagesTr" and "training" not in description else ""
            data = damaged(files[suffix], rng) if rng.random() < 0.1 else files[suffix]
            (folder / parent / f"{name}{channel}{suffix}").write_bytes(data)
    found = attempt(read_description, folder)
    if found is not None:
        attempt(found.values)
        attempt(found.ignored)
    for case in attempt(find_cases, DataSettings(folder=folder)) or ():
        read = attempt(case.read)
        if read is not None:
            assert read[1].dtype.kind in "iu"
    if rng.random() < 0.3:
        project = Project(folder / "project", create=True)
        try:
            attempt(import_from, project, folder, os_errors=True)
            attempt(project.records)
        finally:
            project.close()


def _split(rng: Random, folder: Path, attempt) -> None:
    content = {"training": ["a", "b"], "validation": ["c"], "test": ["d"]}
    path = folder / "split.json"
    path.write_bytes(damaged_json(content, rng))
    split = attempt(read_split, path)
    if split is not None:
        attempt(split.cases, "training", ())


def _log(rng: Random, folder: Path, attempt) -> None:
    rows = [",".join(COLUMNS), *(",".join(str(i) for _ in COLUMNS) for i in range(3)), "4,0.5,"]
    path = folder / "log.csv"
    path.write_bytes(damaged("\n".join(rows).encode(), rng))
    for row in attempt(read_log, path) or ():
        assert all(isinstance(value, float) for value in row.values())


def _run(rng: Random, folder: Path, attempt) -> None:
    files = template()
    run = folder / "training" / "run"
    run.mkdir(parents=True)
    names = [name for name in files if name.startswith(("training/", "models/"))]
    for name in names:
        (run / Path(name).name).write_bytes(damaged_json(json.loads(files[name]), rng))
    attempt(read_finetuning_config, run)
    attempt(RunFolder(run).status)
    comparison = attempt(read_comparison, run / "first.json")
    if comparison is not None:
        assert comparison.verdict.text and isinstance(comparison.warning, str)


def _batch(rng: Random, folder: Path, attempt) -> None:
    settings = {"samples": 4}
    label = _files()[1][".nii.gz"]
    record = {
        "status": "finished",
        "image": "/scans/heart_1.nii.gz",
        "made_with": {**settings, "image_file_sha256": "0" * 64},
        "files": {"labels/heart_1.nii.gz": "1" * 64},
        "replaced": {"labels/heart_1.nii.gz": ["2" * 64]},
        "expected_error": 0.1,
        "voxels": 120,
        "voxel_size": 1.0,
        "time_points": 1,
        "unit": "mm3",
        "classes": {"heart": {"size": 12.0, "interval": [10.0, 14.0]}},
        "samples": 4,
        "provenance": {"steps": 10, "seed": 0},
        "calibrated": {"intervals": True, "meaning": "95 %"},
    }
    results = CaseResults(folder, "heart_1")
    for path, content in (
        (results.record_path, record),
        (
            folder / "failed" / "heart_1.json",
            {"image": record["image"], "reason": "It is damaged."},
        ),
    ):
        path.parent.mkdir()
        path.write_bytes(damaged_json(content, rng))
    (folder / "labels").mkdir()
    (folder / "labels" / "heart_1.nii.gz").write_bytes(label)
    image = Path(record["image"])
    made_with = record["made_with"]
    attempt(known_names, folder)
    attempt(results.finished, made_with)
    attempt(results.corrected, ["heart"])
    attempt(results.corrected_sizes)
    attempt(results.failure, image)
    attempt(results.check_replaceable, image, made_with)
    attempt(was_made_with, results.record(), settings)
    attempt(write_table, folder, settings, ["heart"])


@functools.cache
def _files() -> tuple[dict[str, bytes], ...]:
    """Return an image, a label of three classes and a text by suffix."""
    grey = np.arange(120, dtype=np.uint8).reshape(10, 12)
    label = (grey % 3).astype(np.uint8)
    png = {}
    for name, array in (("image", grey), ("label", label)):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        png[name] = file.getvalue()
    volume = seeds()[".nii.gz"]
    return (
        {".png": png["image"], ".nii.gz": volume[0]},
        {".png": png["label"], ".nii.gz": volume[0]},
        {},
    )


def _descriptions() -> list[tuple[dict, str]]:
    """Return the dataset.json of nnU-Net 2, nnU-Net 1 and the Decathlon, each with its files' suffix."""
    listed = [
        {"image": f"./imagesTr/heart_{i}.nii.gz", "label": f"./labelsTr/heart_{i}.nii.gz"}
        for i in (1, 2)
    ]
    decathlon = {"name": "heart", "modality": {"0": "MRI"}, "labels": LABELS_1, "training": listed}
    version_1 = {**decathlon, "numTraining": 2, "test": ["./imagesTs/heart_3.nii.gz"]}
    version_2 = {"channel_names": {"0": "MRI"}, "labels": LABELS_2, "file_ending": ".png"}
    return [(version_2, ".png"), (version_1, ".nii.gz"), (decathlon, ".nii.gz")]
