"""Project folders with damaged records, labels and links, and their journals."""

from __future__ import annotations

import functools
import gzip
import json
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from random import Random

import nibabel as nib
import numpy as np

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.finetuning.launch import runs
from napari_ldseg.finetuning.model_store import ModelStore
from napari_ldseg.project import journal
from napari_ldseg.project.case import CaseFolder, Masks
from napari_ldseg.project.exchange import export
from napari_ldseg.project.folder import Project
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.scans.files import read_scan
from napari_ldseg.scans.scan import Scan

from .mutations import TEXTS, damaged, damaged_json

CLASSES = ("background", "heart", "lung")
SHAPE = (4, 5, 6)
TIME = "2026-01-31T14:05:00+00:00"
IDENTITY = "0123456789abcdef"
VOXELS = 4 * 5 * 6
EXTREMES = (0, 1, -1, VOXELS, VOXELS - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))


def trial(rng: Random, folder: Path, attempt) -> None:
    """Open a damaged project, read all of it, change what can be changed and close it."""
    _write(template(), folder)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _damage(folder, rng)
    project = attempt(Project, folder)
    if project is not None:
        try:
            _use(project, rng, attempt)
        finally:
            project.close()
    found = attempt(find_labelled_cases, DataSettings(folder=folder), CLASSES)
    for case in found[0] if found is not None else ():
        attempt(case.read)
        if case.read_reviewed is not None:
            attempt(case.read_reviewed)
    store = ModelStore(folder)
    attempt(store.history)
    if rng.random() < 0.05:  # reads all bundled models
        attempt(store.tree)
    attempt(store.comparison, folder / "models" / "first.safetensors")
    for run in attempt(runs, folder) or ():
        attempt(run.status)


def _use(project: Project, rng: Random, attempt) -> None:
    records = attempt(project.records)
    for reason in project.unreadable.values():
        attempt._check_message(reason)
    for name, record in (records or {}).items():
        case = attempt(project.case, name)
        if case is None:
            continue
        assert record.state and record.voxels > 0 and record.names
        attempt(project.classes_of, record)
        image = attempt(project.images.read, case)
        masks = attempt(case.load, image)
        maps = attempt(case.load_maps) or {}
        grid = attempt(case.grid)
        if masks is None or grid is None:
            continue
        assert masks.label.shape == masks.edited.shape == masks.reviewed.shape
        attempt(case.save, grid, masks, os_errors=True)
        attempt(case.save_maps, grid, maps, os_errors=True)
        attempt(case.change, edited_voxels=1, os_errors=True)
    for case in attempt(project.unsaved) or ():
        attempt(case.discard_journal, os_errors=True)
    names = sorted(records or {})
    if names:
        attempt(project.patient_changes, names[0], rng.choice(TEXTS))
    choice = rng.randrange(6)
    infos = [ClassInfo(name=name, colour="#102030") for name in CLASSES]
    if choice == 0:
        attempt(export, project, project.folder / "exported", rng.choice(("nnU-Net", "Decathlon")))
    elif choice == 1:
        scan = Scan(np.zeros(SHAPE, np.uint8))
        attempt(project.add_case, rng.choice(TEXTS), scan, None, infos, None, os_errors=True)
    elif choice == 2 and names:
        attempt(project.remove_case, names[0], os_errors=True)
    elif choice == 3:
        attempt(project.set_classes, infos, os_errors=True)


def journal_trial(rng: Random, folder: Path, attempt) -> None:
    """Open a case with a damaged or forged journal."""
    files = {name: data for name, data in template().items() if name.startswith("cases/scan-1/")}
    _write(files, folder)
    path = folder / "cases" / "scan-1" / "journal"
    data = path.read_bytes() if rng.random() < 0.5 else _forged(rng)
    if rng.random() < 0.6:
        data = damaged(data, rng)
    path.write_bytes(data)
    case = CaseFolder(path.parent)
    masks = attempt(case.load)
    if masks is None:
        return
    assert masks.label.shape == masks.edited.shape == SHAPE
    grid = attempt(case.grid)
    assert grid is not None
    attempt(case.save, grid, masks)
    again = attempt(case.load)
    assert again is not None and np.array_equal(again.label, masks.label), "a label has changed"


@functools.cache
def template() -> dict[str, bytes]:
    """Return the files of a small project by relative path; always the same bytes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "project"
        _make_project(folder)
        files = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            data, name = path.read_bytes(), path.relative_to(folder).as_posix()
            if name.endswith(".gz"):
                data = gzip.compress(gzip.decompress(data), mtime=0)
            if name.endswith("json"):
                data = _with_fixed_times(data, folder)
            if not path.name.startswith(".lock"):
                files[name] = data
    files["cases/scan-1/journal"] = _forged(Random(0), plain=True)
    return files


def _make_project(folder: Path) -> None:
    project = Project(folder, create=True)
    rng = np.random.default_rng(0)
    infos = [ClassInfo(name=name, colour="#102030") for name in CLASSES]
    (folder / "images").mkdir()
    affine = np.array([[1.9, 0.3, 0, -5], [-0.3, 1.9, 0, 7], [0, 0, 2.5, 9], [0, 0, 0, 1]])
    volume = rng.integers(0, 99, SHAPE[::-1]).astype(np.int16)
    file = folder / "images" / "scan-1.nii.gz"
    file.write_bytes(gzip.compress(nib.Nifti1Image(volume, affine).to_bytes(), mtime=0))
    for name, image, path in (
        ("scan-1", read_scan(file), file),
        ("layer", Scan(np.asarray(rng.integers(0, 9, SHAPE), np.uint8)), None),
        ("photo", Scan(np.asarray(rng.integers(0, 255, (8, 9, 3)), np.uint8), channels=True), None),
    ):
        label = rng.integers(0, 3, image.shape).astype(np.uint8)
        reviewed = np.ones(image.shape, bool)
        reviewed[0] = name == "layer"
        case = project.add_case(name, image, path, infos, Masks(label, label > 1, reviewed))
        case.save_maps(image, {"sample_sd": np.full(image.shape, 0.25, np.float32)})
    project.remove_case("photo")
    project.close()
    _write_models(folder)


def _write_models(folder: Path) -> None:
    run = folder / "training" / "2026-01-31-first"
    contents = {
        run / "config.json": {
            "project": str(folder),
            "base": None,
            "name": "first",
            "classes": [{"name": name, "colour": "#102030"} for name in CLASSES],
            "cases": ["scan-1", "layer"],
        },
        run / "status.json": {
            "phase": "finished",
            "text": "Ready.",
            "checkpoint": "first.safetensors",
        },
        folder / "models" / "adopted.json": {
            "decisions": [
                {"model": "bundled:glas", "sha256": "0" * 64, "used": True, "when": TIME},
                {
                    "model": "models/first.safetensors",
                    "sha256": "1" * 64,
                    "used": False,
                    "when": TIME,
                },
            ]
        },
        folder / "models" / "first.json": {
            "base": "glas",
            "name": "first",
            "classes": list(CLASSES[1:]),
            "changes": [
                {"case": "layer", "patient": "layer", "before": [0.5, None], "after": [0.6, None]}
            ],
        },
    }
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def _with_fixed_times(data: bytes, folder: Path) -> bytes:
    content = json.loads(data.replace(str(folder).encode(), b"/project"))
    fixed = {"created": TIME, "changed": TIME, "identity": IDENTITY}
    content.update({key: value for key, value in fixed.items() if key in content})
    return json.dumps(content).encode()


def _write(files: dict[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _damage(folder: Path, rng: Random) -> None:
    paths = sorted(p for p in folder.rglob("*") if not p.is_symlink())
    files = [p for p in paths if p.is_file()]
    if not files:
        return
    path, any_path = rng.choice(files), rng.choice(paths)
    records = [p for p in files if p.suffix == ".json"]
    outside = folder.parent / "outside"
    kind = rng.randrange(14)
    if kind <= 5 and records:
        path = rng.choice(records)
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return
        path.write_bytes(damaged_json(content, rng))
    elif kind <= 8:
        path.write_bytes(damaged(path.read_bytes(), rng, rng.choice(files).read_bytes()))
    elif kind == 9:
        _remove(any_path)
    elif kind == 10:
        _remove(any_path)
        target = rng.choice((outside, outside / "secret.nii.gz", outside / "case.json", "nowhere"))
        os.symlink(rng.choice((target, any_path.name, "..")), any_path)
    elif kind == 11:
        _remove(any_path)
        rng.choice((any_path.mkdir, any_path.touch, functools.partial(os.mkfifo, any_path)))()
    elif kind == 12:
        data = rng.choice(files).read_bytes()
        target = path.with_name(rng.choice(("journal", "label.nii.gz")))
        if not target.is_dir():
            target.write_bytes(data)
    else:
        name = rng.choice(
            (
                "x" * 200,
                "a\nb\x1b[2J",
                "é",
                "..x",
                "-rf",
                b"\xff".decode("utf-8", "surrogateescape"),
            )
        )
        any_path.rename(any_path.with_name(name))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _forged(rng: Random, plain: bool = False) -> bytes:
    """Return a journal with right checksums, and unless ``plain`` with wrong contents."""
    header: dict = {"LDSeg journal": 1, "shape": list(SHAPE), "case": IDENTITY}
    line = json.dumps(header).encode()
    if not plain and rng.random() < 0.2:
        line = damaged_json(header, rng)
    records = [_record(rng, plain) for _ in range(2 if plain else rng.randrange(4))]
    return line + b"\n" + b"".join(records)


def _record(rng: Random, plain: bool) -> bytes:
    if plain:
        starts, lengths, labels, edited = [3, 40], [5, 2], [1, 2], [1, 0]
    else:
        count = rng.choice((0, 1, 2, 3, 50))
        small = rng.random() < 0.5

        def number() -> int:
            return rng.randrange(4) if small or rng.random() < 0.7 else rng.choice(EXTREMES)

        starts, labels = ([number() for _ in range(count)] for _ in range(2))
        lengths = [number() % 2**32 for _ in range(count)]
        edited = [rng.randrange(256) for _ in range(count)]
    gaps = np.diff(np.array(starts, dtype="<i8"), prepend=np.int64(0)) if plain else starts
    columns = zip(("<i8", "<u4", "<i8", "u1"), (gaps, lengths, labels, edited), strict=True)
    content = b"".join(np.asarray(values, kind).tobytes() for kind, values in columns)
    claimed = len(starts) if plain or rng.random() < 0.8 else rng.choice((0, 1, 2**31, 2**32 - 1))
    content = journal.COUNT.pack(claimed) + content
    if not plain and rng.random() < 0.05:
        content += bytes(2**21)
    payload = zlib.compress(content)
    if not plain and rng.random() < 0.1:
        payload += rng.randbytes(9)
    when = 1.7e9 if plain else rng.choice((1.7e9, float("nan"), -1e308))
    checksum = zlib.crc32(payload, zlib.crc32(struct.pack("<d", when)))
    return journal.HEAD.pack(len(payload), checksum, when) + payload
