"""The project folder: what is on the disk, and what survives moving, crashing and foreign hands."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from skimage.io import imsave
from typer.testing import CliRunner

from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.cli import app
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.errors import LDSegError
from napari_ldseg.project.case import Masks
from napari_ldseg.project.exchange import export, import_from
from napari_ldseg.project.folder import Project
from napari_ldseg.project.images import ImageMissing
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.project.patient import patient_of, patients_of
from napari_ldseg.project.schema import SignOff
from napari_ldseg.project.update import propose
from napari_ldseg.scans.channels import read_channels
from napari_ldseg.scans.files import read_like, read_scan, write_like
from napari_ldseg.scans.scan import Scan
from napari_ldseg.utils.locking import LOCK, OWNER

CLASSES = [
    ClassInfo(name="background", colour="#000000"),
    ClassInfo(name="ventricle", colour="#ff0000", snomed="87878005"),
    ClassInfo(name="atrium", colour="#00ff00"),
]


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path / "work" / "project", create=True)
    yield project
    project.close()


@pytest.fixture
def oblique(tmp_path):
    """An oblique, anisotropic, axis-swapping NIfTI volume beside the project."""
    rng = np.random.default_rng(3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.7, 1.1, 2.3])
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    image = nib.Nifti1Image(rng.integers(0, 999, (9, 12, 7)).astype(np.int16), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 2)
    path = tmp_path / "work" / "images" / "patient007_mr.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def random_masks(shape, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, shape).astype(np.uint8)
    return Masks(label, rng.random(shape) < 0.2, rng.random(shape) < 0.4)


def assert_same(masks, expected):
    for name in ("label", "edited", "reviewed"):
        np.testing.assert_array_equal(getattr(masks, name), getattr(expected, name))


def test_labels_lie_exactly_on_an_oblique_anisotropic_image(project, oblique):
    scan = read_scan(oblique)
    masks = random_masks(scan.shape)
    case = project.add_case("heart", scan, oblique, CLASSES, masks)
    assert_same(case.load(), masks)
    original = nib.load(oblique)
    for name, array in (("label", masks.label), ("edited", masks.edited)):
        written = nib.load(case.folder / f"{name}.nii.gz")
        assert written.shape == original.shape
        np.testing.assert_array_equal(written.affine, original.affine)
        np.testing.assert_array_equal(read_like(case.folder / f"{name}.nii.gz", scan), array)
    voxel = tuple(np.argwhere(masks.label == 2)[5])
    world = scan.affine @ [*voxel, 1]
    label_file = nib.load(case.folder / "label.nii.gz")
    there = np.rint(np.linalg.inv(label_file.affine) @ world)[:3].astype(int)
    assert label_file.get_fdata()[tuple(there)] == 2
    np.testing.assert_array_equal(project.images.read(case).array, scan.array)


@pytest.mark.parametrize("shape", [(11, 8), (5, 7, 9), (2, 5, 7, 9)])
def test_images_without_a_file_are_copied(project, shape):
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    affine = np.array([[0, 0, 2, 0], [0, 0.5, 0, 3], [-1.5, 0, 0, 0], [0, 0, 0, 1.0]])
    scan = Scan(array, affine, name="made up")
    masks = random_masks(shape)
    case = project.add_case("made up", scan, None, CLASSES, masks)
    assert_same(case.load(), masks)
    image = project.images.read(case)
    np.testing.assert_array_equal(image.array, array)
    np.testing.assert_allclose(image.affine, affine)
    assert case.record().image.path == "cases/made up/image.nii"


def test_colour_images_are_referred_to_or_copied(project, tmp_path):
    from skimage.io import imsave

    array = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    imsave(path, array, check_contrast=False)
    scan = read_scan(path)
    for source in (path, None):
        case = project.add_case("photo", scan, source, CLASSES, random_masks(scan.shape))
        np.testing.assert_array_equal(project.images.read(case).array, array)
        assert_same(case.load(), random_masks(scan.shape))


def test_the_folder_can_be_read_by_a_human(project, oblique):
    scan = read_scan(oblique)
    case = project.add_case("heart", scan, oblique, CLASSES, random_masks(scan.shape))
    content = json.loads((project.folder / "project.json").read_text())
    assert [c["name"] for c in content["classes"]] == ["background", "ventricle", "atrium"]
    assert content["classes"][1] == {"name": "ventricle", "colour": "#ff0000", "snomed": "87878005"}
    record = json.loads((case.folder / "case.json").read_text())
    assert record["image"]["path"] == "../images/patient007_mr.nii.gz"
    assert len(record["image"]["sha256"]) == 64
    assert record["values"] == ["background", "ventricle", "atrium"]


def test_project_and_images_can_move_together_or_alone(project, oblique, tmp_path):
    scan = read_scan(oblique)
    name = project.add_case("heart", scan, oblique, CLASSES, random_masks(scan.shape)).name
    project.close()
    shutil.copytree(tmp_path / "work", tmp_path / "elsewhere")
    alone = tmp_path / "alone"
    shutil.copytree(project.folder, alone)
    for folder, image in (
        (tmp_path / "elsewhere" / "project", tmp_path / "elsewhere" / "images" / oblique.name),
        (alone, oblique),
    ):
        moved = Project(folder)
        assert moved.images.path(moved.case(name)).resolve() == image.resolve()
        assert_same(moved.case(name).load(), random_masks(scan.shape))
        moved.close()


def test_a_changed_moved_or_wrong_image_is_recognised(project, oblique, tmp_path, assert_sentence):
    scan = read_scan(oblique)
    case = project.add_case("heart", scan, oblique, CLASSES, random_masks(scan.shape))
    moved = tmp_path / "moved.nii.gz"
    shutil.move(oblique, moved)
    with pytest.raises(ImageMissing) as error:
        project.images.read(case)
    assert_sentence(error, "heart", "locate")
    other = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((9, 12, 7), np.int16), np.eye(4)), other)
    with pytest.raises(LDSegError, match="not the image that heart was labelled on"):
        project.images.locate(case, other)
    project.images.locate(case, moved)
    np.testing.assert_array_equal(project.images.read(case).array, scan.array)
    shutil.copy(other, moved)
    with pytest.raises(ImageMissing, match="has changed since heart was labelled"):
        project.images.read(case)


def test_a_label_of_another_grid_gets_a_sentence(project, oblique, assert_sentence):
    scan = read_scan(oblique)
    case = project.add_case("heart", scan, oblique, CLASSES, random_masks(scan.shape))
    smaller = Scan(np.zeros((3, 4, 5), np.uint8))
    write_like(case.folder / "edited.nii.gz", smaller.array, smaller)
    with pytest.raises(LDSegError) as error:
        case.load()
    assert_sentence(error, "edited.nii.gz", "does not fit")
    shifted = nib.load(oblique)
    nib.save(
        nib.Nifti1Image(np.zeros((9, 12, 7), np.uint8), shifted.affine + np.eye(4)[:, ::-1]),
        case.folder / "edited.nii.gz",
    )
    with pytest.raises(LDSegError, match="affines differ"):
        case.load()


def test_the_split_is_by_patient_and_fixed(project, oblique):
    scan = read_scan(oblique)
    for patient in range(20):
        for view in ("2CH", "4CH"):
            name = f"patient{patient:04d}_{view}"
            project.add_case(name, scan, oblique, CLASSES, None)
    splits = {name: record.split for name, record in project.records().items()}
    assert sum(s == "validation" for s in splits.values()) == 8
    assert all(splits[n] == splits[n.replace("2CH", "4CH")] for n in splits)
    project.close()
    again = Project(project.folder)
    again.add_case("patient0000_other", scan, oblique, CLASSES, None)
    assert {n: r.split for n, r in again.records().items() if n in splits} == splits
    assert again.records()["patient0000_other"].split == splits["patient0000_2CH"]
    again.close()


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("patient0033_4CH_ED", "patient0033"),
        ("sub-01_ses-2_T1w", "sub-01"),
        ("hippocampus_001", "hippocampus_001"),
        ("P012_ED", "P012"),
        ("P012_ES", "P012"),
        ("012 2CH ES", "012"),
        ("MRN-4711_baseline", "MRN-4711"),
        ("MRN-4711_followup", "MRN-4711"),
        ("case12_t0", "case12"),
        ("Patient 12 ED", "Patient 12"),
        ("T1_P012", "P012"),
        ("site1_P012", "P012"),
        ("TCGA-02-0006_flair", "TCGA-02-0006"),
        ("20240131_0815", "0815"),
        ("patella12-left", "patella12"),
        ("Smith_T2w [1]", "Smith"),
        ("T1", "T1"),
        ("heart", "heart"),
    ],
)
def test_the_patient_is_read_from_the_name(name, patient):
    assert patient_of(name) == patient


@pytest.mark.parametrize(
    ("file", "patient"),
    [
        ("patient_1/T1", "patient_1"),
        ("patient_1/ses-2/anat/T2w", "patient_1"),
        ("Gray/T1", "Gray"),
        ("ward7/IM0001", "ward7"),
        ("BraTS20_Training_001/BraTS20_Training_001_t1", "BraTS20_Training_001"),
        ("set1/images/organ_001", "organ_001"),
        ("set1/P012_ED", "P012"),
    ],
)
def test_where_the_name_cannot_tell_the_folder_does(tmp_path, file, patient):
    path = tmp_path / f"{file}.nii.gz"
    for here in (path, tmp_path / "other2" / file.partition("/")[2]):
        here.parent.mkdir(parents=True, exist_ok=True)
        here.with_name(path.name).touch()
    assert patient_of(path.name.removesuffix(".nii.gz"), path) == patient


def test_a_number_that_all_of_a_data_set_shares_is_not_the_patients():
    names = [f"BraTS20_Training_{i:03}_t1" for i in range(3)]
    assert len(set(patients_of(names, [None] * 3))) == 3
    assert patients_of(["P012_ED", "P012_ES"], [None] * 2) == ["P012"] * 2


def test_one_file_name_in_a_folder_per_patient_is_many_patients(project):
    array = np.zeros((8, 8), np.uint8)
    for patient in range(5):
        for phase in ("ED", "ES"):
            folder = project.folder.parent / f"patient_{patient}"
            folder.mkdir(exist_ok=True)
            imsave(folder / f"{phase}.png", array, check_contrast=False)
    for patient in range(5):
        for phase in ("ED", "ES"):
            path = project.folder.parent / f"patient_{patient}" / f"{phase}.png"
            project.add_case(phase, read_scan(path), path, CLASSES, None)
    records = project.records().values()
    assert {r.patient for r in records} == {f"patient_{i}" for i in range(5)}
    assert len({(r.patient, r.split) for r in records}) == 5
    assert {r.split for r in records} == {"training", "validation"}


def test_a_case_goes_to_the_split_of_its_patient(project, oblique, assert_sentence):
    scan = read_scan(oblique)
    for i in range(10):
        project.add_case(f"case_{i}", scan, oblique, CLASSES, None)
    splits = {r.split: name for name, r in project.records().items()}
    held_out, trained = splits["validation"], splits["training"]
    # A renamed patient keeps the split; the same name in other letters is the same patient.
    assert project.patient_changes(held_out, "Gray") == {"patient": "Gray", "split": "validation"}
    changes = project.patient_changes(trained, " gray ")
    assert changes == {"patient": "Gray", "split": "validation"}
    project.case(trained).change(**changes)
    assert project.records()[trained].split == "validation"
    with pytest.raises(LDSegError) as error:
        project.patient_changes(trained, " ")
    assert_sentence(error, trained)


def test_a_removed_case_is_kept_and_its_patient_stays_in_its_split(project, oblique):
    scan = read_scan(oblique)
    masks = random_masks(scan.shape)
    for i in range(5):
        project.add_case(f"case_{i}", scan, oblique, CLASSES, masks)
    splits = {name: record.split for name, record in project.records().items()}
    for _ in range(2):
        for name in splits:
            project.remove_case(name)
        assert not project.records()
        project.close()
        project = Project(project.folder)
        for name in reversed(splits):
            project.add_case(name, scan, oblique, CLASSES, masks)
        assert {name: r.split for name, r in project.records().items()} == splits
    moved = project.folder / "removed" / "case_3-2"
    moved.rename(project.folder / "cases" / "back")
    assert_same(project.case("back").load(), masks)
    np.testing.assert_array_equal(project.images.read(project.case("back")).array, scan.array)


def test_states_of_a_case(project, oblique):
    scan = read_scan(oblique)
    untouched = Masks.untouched(np.zeros(scan.shape, np.uint8))
    case = project.add_case("heart", scan, oblique, CLASSES, None)
    assert case.record().state == "no label"
    case.save(scan, untouched)
    assert case.record().state == "unreviewed"
    some = np.zeros(scan.shape, bool)
    some[2] = True
    assert case.save(scan, replace(untouched, edited=some)).state == "edited"
    percent = 100 * some.sum() // some.size
    assert case.save(scan, replace(untouched, reviewed=some)).state == f"{percent} % reviewed"
    assert case.save(scan, replace(untouched, reviewed=some | True)).state == "reviewed"
    signed = SignOff(who="Dr. Gray", when="2030-01-01", verdict="accepted")
    assert (
        case.save(scan, replace(untouched, reviewed=~some), sign_off=signed).state == "signed off"
    )


def test_names_never_escape_or_overwrite(project, oblique):
    scan = read_scan(oblique)
    names = ["../../up", "a/b", "..", "scan", "Scan", "x" * 300]
    cases = [project.add_case(n, scan, oblique, CLASSES, None) for n in names]
    assert len({c.name.casefold() for c in cases}) == len(names)
    assert all(c.folder.parent == project.folder / "cases" for c in cases)


def test_a_failed_addition_leaves_nothing(project, oblique, monkeypatch):
    scan = read_scan(oblique)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_ldseg.utils.atomic.os.replace", full)
    with pytest.raises((OSError, LDSegError)):
        project.add_case("heart", scan, oblique, CLASSES, random_masks(scan.shape))
    assert not list((project.folder / "cases").iterdir())


def test_what_a_killed_process_was_writing_is_removed(project, oblique):
    scan = read_scan(oblique)
    case = project.add_case("heart", scan, oblique, CLASSES, random_masks(scan.shape))
    project.close()
    torn = [
        case.folder / ".label.nii.gz.01cd45ef.nii.gz",
        project.folder / ".project.json.89ab23cd.json",
    ]
    for path in (*torn, case.folder / "my notes.json"):
        path.write_bytes(b"half")
    (project.folder / "cases" / ".adding-x").mkdir()
    Project(project.folder).close()
    assert not any(path.exists() for path in torn)
    assert (case.folder / "my notes.json").exists()
    assert [p.name for p in (project.folder / "cases").iterdir()] == ["heart"]
    assert_same(case.load(), random_masks(scan.shape))


def test_a_class_in_use_cannot_go(project, oblique, assert_sentence):
    scan = read_scan(oblique)
    case = project.add_case("heart", scan, oblique, CLASSES, None)
    with pytest.raises(LDSegError) as error:
        project.set_classes(CLASSES[:2])
    assert_sentence(error, "atrium", "heart")
    assert len(project.record.classes) == 3
    content = json.loads((project.folder / "project.json").read_text())
    content["classes"] = content["classes"][:2]
    (project.folder / "project.json").write_text(json.dumps(content))
    project.close()
    again = Project(project.folder)
    with pytest.raises(LDSegError) as error:
        again.classes_of(case.record())
    assert_sentence(error, "atrium", "put it back")
    again.close()


def test_broken_records_get_a_sentence_and_the_other_cases_stay(project, oblique, assert_sentence):
    scan = read_scan(oblique)
    good, bad = (project.add_case(n, scan, oblique, CLASSES, None) for n in ("good", "bad"))
    for content in ("{", '{"format_version": 1}', "[]" * 100):
        (bad.folder / "case.json").write_text(content)
        with pytest.raises(LDSegError) as error:
            bad.record()
        assert_sentence(error, "case.json")
        assert list(project.records()) == [good.name]


def test_other_folders_are_no_projects(tmp_path, assert_sentence):
    with pytest.raises(LDSegError) as error:
        Project(tmp_path / "nowhere")
    assert_sentence(error, "nowhere")
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(LDSegError) as error:
        Project(tmp_path, create=True)
    assert_sentence(error, "holds other files")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.docx"]


def hold_open(folder):
    code = (
        "import sys; from pathlib import Path; from napari_ldseg.project.folder import Project;"
        "p = Project(Path(sys.argv[1]), create=True); print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline().strip() == b"open"
    return process


def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(tmp_path, assert_sentence):
    folder = tmp_path / "project"
    process = hold_open(folder)
    with pytest.raises(LDSegError) as error:
        Project(folder)
    assert_sentence(error, f"process {process.pid}", "close it there")
    process.kill()
    process.communicate()
    project = Project(folder)
    with pytest.raises(LDSegError, match="another window of this napari"):
        Project(folder)
    project.close()
    assert not (folder / LOCK).exists() and not (folder / OWNER).exists()
    Project(folder).close()


@pytest.mark.parametrize(
    "content",
    [
        '{"pid": 1',
        json.dumps({"pid": 1, "host": "elsewhere", "since": "now"}),
        json.dumps({"pid": os.getppid(), "host": socket.gethostname(), "since": "now"}),
    ],
)
def test_what_names_the_owner_of_a_lock_decides_nothing(tmp_path, content):
    folder = tmp_path / "project"
    Project(folder, create=True).close()
    (folder / LOCK).touch()
    (folder / OWNER).write_text(content)
    Project(folder).close()


def test_an_update_fills_the_rest_and_counts_what_changes():
    label = np.zeros((4, 5), np.uint8)
    label[0] = 1
    new = np.full((4, 5), 2, np.uint8)
    protected = np.zeros((4, 5), bool)
    protected[:, 0] = True
    update = propose(label, new, protected, (slice(0, 3), slice(0, 5)), 3)
    assert len(update) == 12 and update.kept == 3
    assert update.gained.tolist() == [0, 0, 12] and update.lost.tolist() == [8, 4, 0]
    label[update.indices] = update.labels
    assert (label[:3, 1:] == 2).all() and (label[3] == 0).all() and label[0, 0] == 1


def reviewed(project, scan, path, name, seed):
    masks = replace(random_masks(scan.shape, seed), reviewed=np.ones(scan.shape, bool))
    return project.add_case(name, scan, path, CLASSES, masks)


@pytest.mark.parametrize("layout", ["nnU-Net", "Decathlon"])
def test_export_and_import_give_the_same_labels(project, oblique, tmp_path, layout):
    scan = read_scan(oblique)
    for i in range(3):
        reviewed(project, scan, oblique, f"case_{i}", i)
    project.add_case("not yet", scan, oblique, CLASSES, random_masks(scan.shape))
    outcome = export(project, tmp_path / "out", layout)
    assert outcome.done == 3 and outcome.left_out == ("not yet is not reviewed yet.",)
    label = nib.load(tmp_path / "out" / "labelsTr" / "case_1.nii.gz")
    np.testing.assert_array_equal(label.affine, nib.load(oblique).affine)
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    if layout == "nnU-Net":
        assert content["labels"] == {"background": 0, "ventricle": 1, "atrium": 2}
        assert (tmp_path / "out" / "imagesTr" / "case_1_0000.nii.gz").is_file()
    else:
        assert content["labels"] == {"0": "background", "1": "ventricle", "2": "atrium"}
        assert content["training"][1]["image"] == "./imagesTr/case_1.nii.gz"
    other = Project(tmp_path / "other", create=True)
    back = import_from(other, tmp_path / "out")
    assert back.done == 3 and not back.left_out
    for i in range(3):
        case = other.case(f"case_{i}")
        np.testing.assert_array_equal(case.load().label, random_masks(scan.shape, i).label)
        np.testing.assert_array_equal(other.images.read(case).array, scan.array)
        assert case.record().state == "reviewed"
    other.close()


def test_cases_with_other_classes_share_numbers_in_an_export(project, oblique, tmp_path):
    scan = read_scan(oblique)
    reviewed(project, scan, oblique, "heart", 0)
    other = [ClassInfo(name="nothing", colour="#000000"), CLASSES[2], CLASSES[1]]
    masks = replace(random_masks(scan.shape, 0), reviewed=np.ones(scan.shape, bool))
    project.add_case("swapped", scan, oblique, other, masks)
    export(project, tmp_path / "out", "nnU-Net")
    heart, swapped = (
        nib.load(tmp_path / "out" / "labelsTr" / f"{n}.nii.gz").get_fdata()
        for n in ("heart", "swapped")
    )
    np.testing.assert_array_equal(swapped, np.array([0, 2, 1])[heart.astype(int)])


def test_exports_refuse_full_folders_and_empty_projects(
    project, oblique, tmp_path, assert_sentence
):
    with pytest.raises(LDSegError, match="nothing to export"):
        export(project, tmp_path / "out", "nnU-Net")
    reviewed(project, read_scan(oblique), oblique, "heart", 0)
    with pytest.raises(LDSegError) as error:
        export(project, oblique.parent, "nnU-Net")
    assert_sentence(error, "not empty")


@pytest.mark.parametrize(
    "entry", ["../secret.nii.gz", "/etc/passwd", "imagesTr/../../x.nii.gz", "./a/../../b.nii.gz"]
)
def test_imports_stay_inside_their_folder(project, tmp_path, entry, assert_sentence):
    folder = tmp_path / "foreign"
    folder.mkdir()
    (tmp_path / "secret.nii.gz").write_bytes(b"x")
    content = {"labels": {"0": "background"}, "training": [{"image": entry, "label": entry}]}
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(LDSegError) as error:
        import_from(project, folder)
    assert_sentence(error, "outside")
    assert not project.cases()


def test_imports_leave_out_what_does_not_fit_and_say_so(project, oblique, tmp_path):
    scan = read_scan(oblique)
    for i in range(3):
        reviewed(project, scan, oblique, f"case_{i}", i)
    export(project, tmp_path / "out", "Decathlon")
    labels = tmp_path / "out" / "labelsTr"
    small = Scan(np.zeros((3, 3, 3), np.uint8))
    write_like(labels / "case_0.nii.gz", small.array, small)
    write_like(labels / "case_1.nii.gz", np.full(scan.shape, 9, np.uint8), scan)
    other = Project(tmp_path / "other", create=True)
    outcome = import_from(other, tmp_path / "out")
    assert outcome.done == 1 and len(outcome.left_out) == 2
    assert "shape" in outcome.left_out[0] and "classes 0 to 2" in outcome.left_out[1]
    assert [c.name for c in other.cases()] == ["case_2"]
    other.close()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"labels": {"a": 5}}', '{"labels": 3, "training": []}', "{}"]
)
def test_foreign_folders_get_a_sentence(project, tmp_path, content, assert_sentence):
    folder = tmp_path / "foreign"
    folder.mkdir()
    if content:
        (folder / "dataset.json").write_text(content)
    with pytest.raises(LDSegError) as error:
        import_from(project, folder)
    assert_sentence(error, "foreign")


def test_the_room_needs_neither_qt_nor_napari_nor_torch():
    code = (
        "import sys; from napari_ldseg.project import exchange, folder, recorder, update;"
        "print([m for m in ('torch', 'qtpy', 'napari') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps", "without_plots")
def test_a_project_is_trained_on_by_class_name_with_its_own_split(project, tmp_path):
    """Reviewed cases only; label values follow the names, whatever their order; the lock stays."""
    structure = ("ventricle", "atrium")
    for i in range(10):
        rng = np.random.default_rng(i)
        label = np.zeros((16, 16), np.uint8)
        row, column = rng.integers(1, 6, 2)
        label[row : row + 5, column : column + 8] = 1 + i % 2
        image = (rng.uniform(0, 60, label.shape) + 90 * label).astype(np.uint8)
        path = tmp_path / f"patient{i}.png"
        imsave(path, image, check_contrast=False)
        masks = replace(Masks.untouched(label), reviewed=np.full(label.shape, i != 4))
        project.add_case(f"case_{i}", read_scan(path), path, CLASSES, masks, patient=f"p{i}")
    names = ["background", "atrium", "ventricle"]
    settings = DataSettings(folder=project.folder)
    cases, split = find_labelled_cases(settings, names)
    assert len(cases) == 9 and "case_4" not in [c.name for c in cases]
    for case in cases:
        scan, label = case.read()
        value = names.index(structure[int(case.name[-1]) % 2])
        assert set(np.unique(label)) == {0, value}
        assert np.asarray(scan.array)[label > 0].mean() > np.asarray(scan.array)[label == 0].mean()
    assert len(split.validation) >= 1 and len(split.training) + len(split.validation) == 9
    with pytest.raises(LDSegError, match="atrium, which is not among"):
        find_labelled_cases(settings, ["background", "ventricle"])
    config = {
        "name": "from a project",
        "data": {"folder": str(project.folder)},
        "classes": names,
        "grid": {"size": [16, 16]},
        "architecture": {
            "label_widths": [4, 4],
            "image_widths": [4, 4],
            "denoiser_widths": [8],
            "denoiser_attention": [],
        },
        "training": {"updates": 2, "batch_size": 2, "precision": "32-true"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    answer = CliRunner().invoke(
        app, ["train", str(tmp_path / "config.yaml"), "-o", str(tmp_path / "run")]
    )
    assert answer.exit_code == 0, answer.stderr
    assert json.loads((tmp_path / "run" / "split.json").read_text())["validation"] == list(
        split.validation
    )
    project.set_classes([*project.record.classes, ClassInfo(name="valve", colour="#0000ff")])


@pytest.mark.parametrize(
    ("value", "words"), [(-1, ("reviewed completely",)), (3, ("heart", "value 3,"))]
)
def test_a_value_without_a_class_is_never_taken_for_another(
    project, oblique, value, words, assert_sentence
):
    scan = read_scan(oblique)
    label = np.ones(scan.shape, np.int16)
    label[0] = value
    masks = replace(Masks.untouched(label), reviewed=np.ones(label.shape, bool))
    project.add_case("heart", scan, oblique, CLASSES, masks)
    names = [c.name for c in CLASSES]
    with pytest.raises(LDSegError) as error:
        (case,), _ = find_labelled_cases(DataSettings(folder=project.folder), names)
        case.read_label()
    assert_sentence(error, *words)


def test_a_project_without_reviewed_cases_cannot_be_trained_on(project, oblique, assert_sentence):
    scan = read_scan(oblique)
    project.add_case("heart", scan, oblique, CLASSES, random_masks(scan.shape))
    with pytest.raises(LDSegError) as error:
        find_labelled_cases(
            DataSettings(folder=project.folder), ["background", "ventricle", "atrium"]
        )
    assert_sentence(error, "reviewed")


def test_imported_classes_get_the_colours_that_their_names_have(project, oblique, tmp_path):
    scan = read_scan(oblique)
    classes = [CLASSES[0], *(ClassInfo(name=n, colour="#123456") for n in ("a", "b", "c", "d"))]
    masks = Masks(np.full(scan.shape, 4, np.uint8), *[np.ones(scan.shape, bool)] * 2)
    project.add_case("heart", scan, oblique, classes, masks)
    export(project, tmp_path / "out", "nnU-Net")
    description = tmp_path / "out" / "dataset.json"
    content = json.loads(description.read_text())
    names = ("background", "Ventricle", "Left atrium", "valve", "anterior")
    content["labels"] = {name: value for value, name in enumerate(names)}
    description.write_text(json.dumps(content))
    other = Project(tmp_path / "other", create=True)
    other.add_classes(CLASSES)
    import_from(other, tmp_path / "out")
    colours = {c.name: c.colour for c in other.record.classes}
    other.close()
    of_model = {
        model: {c.name: c.colour for c in read_metadata(find_checkpoint(model)).classes}
        for model in ("camus", "hippocampus")
    }
    assert colours["Ventricle"] == "#ff0000"
    assert colours["Left atrium"] == of_model["camus"]["left atrium"]
    assert colours["anterior"] == of_model["hippocampus"]["anterior"]
    assert len({colours[name] for name in names}) == 5


def test_a_map_that_holds_no_sds_is_left_out(project):
    image = Scan(np.zeros((4, 5, 6), np.uint8))
    masks = Masks.untouched(np.zeros(image.shape, np.uint8))
    case = project.add_case("layer", image, None, CLASSES, masks)
    good = np.full(image.shape, 0.25, np.float32)
    case.save_maps(image, {"sample_sd": good, "predictive_sd": good})
    write_like(case.file("sample_sd.nii.gz"), np.full(image.shape, 1e300), case.grid())
    assert list(case.load_maps()) == ["predictive_sd"]


def test_an_image_at_a_circle_of_links_is_missing(project):
    image = Scan(np.zeros((4, 5, 6), np.uint8))
    case = project.add_case("layer", image, None, CLASSES, None)
    path = project.images.path(case)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(ImageMissing, match=r"layer is no longer at .*image\.nii"):
        project.images.path(case)


def test_a_case_without_a_name_has_a_patient(project):
    case = project.add_case("", Scan(np.zeros((4, 5, 6), np.uint8)), None, CLASSES, None)
    assert case.record().patient == case.name == "case"


def test_a_patient_of_spaces_alone_is_the_case(project):
    image = Scan(np.zeros((4, 5, 6), np.uint8))
    case = project.add_case("scan", image, None, CLASSES, None, patient="  ")
    assert case.record().patient == "scan"


def test_a_record_without_classes_is_refused(project, assert_sentence):
    case = project.add_case("scan", Scan(np.zeros((4, 5, 6), np.uint8)), None, CLASSES, None)
    content = json.loads(case.file("case.json").read_text())
    case.file("case.json").write_text(json.dumps({**content, "values": []}))
    with pytest.raises(LDSegError) as error:
        case.record()
    assert_sentence(error, "case.json", "values")


def test_slices_of_a_volume_are_not_taken_for_channels(project, oblique, assert_sentence):
    scan = read_scan(oblique)
    case = project.add_case("brain", scan, oblique, CLASSES, Masks.untouched(np.zeros(scan.shape)))
    content = json.loads(case.file("case.json").read_text())
    content["geometry"]["shape"] = scan.shape[1:]
    case.file("case.json").write_text(json.dumps(content))
    with pytest.raises(LDSegError) as error:
        project.images.read(case)
    assert_sentence(error, "shape")


@pytest.mark.parametrize("layout", ["nnU-Net", "Decathlon"])
@pytest.mark.parametrize("from_file", [True, False])
def test_images_of_several_channels_are_copied_exported_and_imported(
    project, oblique, tmp_path, layout, from_file
):
    grey = read_scan(oblique)
    array = np.stack([grey.array, np.asarray(grey.array)[::-1]], axis=-1)
    scan = replace(grey, array=array, channels=True, source=grey.source if from_file else None)
    reviewed(project, scan, None, "brain", 0)
    stored = project.images.read(project.case("brain"))
    np.testing.assert_array_equal(stored.array, array)
    np.testing.assert_allclose(stored.affine, grey.affine)
    assert project.case("brain").folder.joinpath("image.nii").is_file()
    assert export(project, tmp_path / "out", layout).done == 1
    other = Project(tmp_path / "other", create=True)
    assert not import_from(other, tmp_path / "out").left_out
    case = other.case("brain")
    again = other.images.read(case)
    assert again.channel_count == 2
    # Without a file of its own the image is written on its nearest anatomical axes.
    if from_file:
        np.testing.assert_array_equal(again.array, array)
        np.testing.assert_array_equal(case.load().label, random_masks(grey.shape, 0).label)
    other.close()


def test_a_case_refers_to_a_4d_file_whose_last_axis_are_its_channels(project, oblique, tmp_path):
    image = nib.load(oblique)
    both = np.stack([image.dataobj, np.asarray(image.dataobj)[::-1]], axis=-1)
    path = tmp_path / "both.nii.gz"
    nib.save(nib.Nifti1Image(both, image.affine, image.header), path)
    scan = read_channels([path])
    case = project.add_case("both", scan, path, CLASSES, random_masks(scan.shape))
    assert not case.folder.joinpath("image.nii").exists()
    np.testing.assert_array_equal(project.images.read(case).array, scan.array)
    case = project.add_case(
        "a loop", read_scan(path), path, CLASSES, random_masks((2, *scan.shape))
    )
    assert not project.images.read(case).channels


@pytest.mark.skipif(sys.platform == "win32", reason="names on Windows are Unicode")
def test_names_that_are_not_utf8(project, tmp_path, assert_sentence):
    image = Scan(np.zeros((4, 5, 6), np.uint8))
    bad = os.fsdecode(b"sch\xe4del")
    case = project.add_case(bad, image, None, CLASSES, None)
    assert case.record().patient == "sch?del"
    path = write_like(tmp_path / f"{bad}.nii", image.array, image)
    with pytest.raises(LDSegError) as error:
        project.add_case("scan", image, path, CLASSES, None)
    assert_sentence(error, "not in UTF-8", "rename")
    assert [case.name for case in project.cases()] == ["sch_del"]
