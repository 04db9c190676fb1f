"""2D networks are trained on volumes and loops, slice by slice."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.slices import (
    by_slice,
    one_image,
    read_counted,
    sample_slices,
    single_images,
)
from napari_ldseg.errors import LDSegError
from napari_ldseg.evaluation.overlap import evaluate, mean_dsc
from napari_ldseg.finetuning.comparison import read_comparison
from napari_ldseg.finetuning.plan import selectable_cases
from napari_ldseg.finetuning.ranking import rank
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.data import CaseDataset

from ..discs import STILL, disc, discs
from ..finetuning.test_finetuning import (
    DISC,
    assert_unreviewed_counts_for_nothing,
    config_for,
    here,
)
from ..training.test_training_run import configuration

SLICES = 6
OBLIQUE = np.array(
    [[0.3, -0.9, 0.1, 5], [-1.9, -0.2, 0.1, 7], [0.4, 0.1, 0.7, -3], [0, 0, 0, 1]], dtype=float
)


def loop(seed, slices=SLICES):
    """Discs one behind the other, the second slice blank, and their label."""
    images = [disc(2, 10 * seed + i) for i in range(slices)]
    array = np.stack([scan.array for scan, _ in images])
    label = np.stack([label for _, label in images])
    array[1] = label[1] = 0
    return Scan(array, OBLIQUE, name=f"loop {seed}"), label


def loop_case(seed=0, reviewed=None):
    scan, label = loop(seed)
    read = None if reviewed is None else (lambda: reviewed)
    return Case("loop", "p", lambda: scan, (lambda: label,), read_reviewed=read)


def some_reviewed(all_of=(0, 1), part=(3,)):
    reviewed = np.zeros((SLICES, 16, 16), bool)
    reviewed[list(all_of)] = True
    reviewed[list(part), :, :8] = True
    return reviewed


def test_slices_count_where_something_is_reviewed_and_shown():
    assert by_slice(loop_case()).slices == (0, 2, 3, 4, 5)
    assert by_slice(loop_case(reviewed=some_reviewed())).slices == (0, 3)
    single = discs(2, 1)[0]
    assert by_slice(single) is single
    with pytest.raises(LDSegError, match="Every slice of loop that is reviewed is blank"):
        by_slice(loop_case(reviewed=some_reviewed((1,), ())))


def test_a_slice_is_the_image_and_lies_where_it_did():
    reviewed = some_reviewed()
    scan, label = loop(0)
    first, second = single_images(by_slice(loop_case(reviewed=reviewed)))
    assert (first.name, second.name) == ("loop, slice 0", "loop, slice 3")
    assert first.read_reviewed is None
    np.testing.assert_array_equal(second.read_reviewed(), reviewed[3])
    image, expert = second.read()
    np.testing.assert_array_equal(image.array, scan.array[3])
    np.testing.assert_array_equal(expert, label[3])
    # A pixel of the slice and the voxel that it was are at one place in the world.
    np.testing.assert_allclose(image.affine @ [0, 4, 9, 1], OBLIQUE @ [3, 4, 9, 1])
    counted = read_counted(by_slice(loop_case(reviewed=reviewed)))
    np.testing.assert_array_equal(counted.label, label[[0, 3]])
    np.testing.assert_array_equal(counted.reviewed, reviewed[[0, 3]])


@pytest.mark.parametrize("room", [float("inf"), 0, 3000], ids=["all cached", "none", "some"])
def test_the_networks_meet_each_slice_as_if_it_were_a_file_of_its_own(disc_metadata, room):
    reviewed = some_reviewed(all_of=(0, 2), part=(3,))
    volume = by_slice(loop_case(reviewed=reviewed))
    separate = [*single_images(volume), discs(2, 1)[0]]
    shaken = STILL.model_copy(update={"rotation": 0.5, "noise": 0.1})
    one = CaseDataset(disc_metadata(2), [volume, discs(2, 1)[0]], shaken, 3, room)
    other = CaseDataset(disc_metadata(2), separate, shaken, 3)
    assert len(one) == len(other) == 4
    for epoch in range(2):
        for index in (3, 1, 0, 2):
            mine, theirs = one[epoch, index], other[epoch, index]
            assert mine.keys() == theirs.keys()
            assert all(np.array_equal(mine[key], theirs[key]) for key in mine)


def test_a_slice_that_the_grid_leaves_blank_is_trained_on_as_one(disc_metadata):
    scan, label = loop(0)
    scan.array[1, 0, 1] = 1.0  # one pixel, which a coarser nearest grid skips
    case = by_slice(Case("loop", "p", lambda: scan, (lambda: label,)))
    assert 1 in case.slices
    grid = disc_metadata(2).grid.model_copy(update={"size": (8, 8), "resampling": "nearest"})
    metadata = disc_metadata(2).model_copy(update={"grid": grid})
    dataset = CaseDataset(metadata, [case], STILL, 0)
    for index in range(len(dataset)):
        assert dataset[0, index]["image"].isfinite().all()


def test_a_volume_is_read_once_for_all_its_slices(disc_metadata):
    reads = []
    scan, label = loop(0)
    case = Case("loop", "p", lambda: reads.append(1) or scan, (lambda: label,))
    volume = by_slice(case)
    reads.clear()
    dataset = CaseDataset(disc_metadata(2), [volume], STILL, 0)
    assert [dataset[0, i]["image"].shape for i in range(5)] == [(1, 16, 16)] * 5
    assert len(reads) == 1


def test_a_volume_is_measured_on_its_slices_that_count(tiny_checkpoint):
    """As if they were the complete volume; the other slices do not matter."""
    checkpoint, reviewed = tiny_checkpoint(), some_reviewed(all_of=(0, 2), part=(3,))
    scan, label = loop(0)
    case = by_slice(loop_case(reviewed=reviewed))
    label = np.where(reviewed, label, 1)
    at = list(case.slices)
    expected = Case(
        "part",
        "p",
        lambda: Scan(scan.array[at]),
        (lambda: label[at],),
        read_reviewed=lambda: reviewed[at],
    )
    np.testing.assert_array_equal(evaluate(checkpoint, [case]), evaluate(checkpoint, [expected]))


def test_a_few_slices_stand_for_many_volumes():
    volumes = [by_slice(loop_case(i)) for i in range(3)]
    assert [case.slices for case in sample_slices(volumes, 8)] == [(0, 4)] * 3
    assert len(sample_slices(volumes * 5, 8)) == 8
    assert [case.slices for case in sample_slices(volumes, 3)] == [(3,)] * 3, "of one, the middle"
    single = discs(2, 2)
    assert sample_slices(single, 8) == single and sample_slices([], 8) == []


def project_of_loops(folder, count=5):
    """Loops of as many patients of which two slices are reviewed and a third in part."""
    made = Project(folder, create=True)
    for i in range(count):
        scan, label = loop(i)
        masks = Masks(label, np.zeros(label.shape, bool), some_reviewed(all_of=(0, 2), part=(3,)))
        case = made.add_case(f"loop{i}", scan, None, DISC, masks)
        case.change(split="validation" if i == 0 else "training")
    made.close()
    return made


@pytest.fixture
def base(tiny_checkpoint, tmp_path):
    """Untrained 2D networks that know the project's classes."""
    checkpoint = tiny_checkpoint()
    described = checkpoint.metadata.model_copy(update={"classes": DISC})
    return save_checkpoint(replace(checkpoint, metadata=described), tmp_path / "tiny.safetensors")


@pytest.mark.slow
def test_a_2d_model_learns_from_the_reviewed_slices_of_loops(tmp_path, base):
    project = project_of_loops(tmp_path / "project")
    found = selectable_cases(project, ["background", "disc"], 2)
    assert [one.problem for one in found] == [""] * 5
    assert {one.images for one in found} == {2}
    assert {one.images for one in selectable_cases(project, ["background", "disc"], 3)} == {1}
    folder, status = here(config_for(project, base))
    assert status.phase == "finished", status
    made = load_checkpoint(status.checkpoint).metadata
    assert made.architecture.dims == 2
    assert "4 corrected cases (12 slices of them)" in made.training.data
    assert set(made.training.cases) == {"loop1", "loop2", "loop3", "loop4"}
    (change,) = read_comparison(folder / "comparison.json").changes
    assert change.case == "loop0" and change.before[0] is not None and change.after[0] is not None
    for name in ("curves.png", "preview.png", "comparison.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_garbage_in_slices_that_nobody_reviewed_changes_nothing(tmp_path, base):
    assert_unreviewed_counts_for_nothing(project_of_loops(tmp_path / "clean"), base, tmp_path)


def test_what_to_annotate_next_looks_at_few_slices_of_a_loop(
    tmp_path, tiny_checkpoint, monkeypatch
):
    from napari_ldseg.finetuning import ranking

    project = Project(tmp_path / "project", create=True)
    scan, _ = loop(0, slices=50)
    project.add_case("loop", scan, None, DISC, None)
    project.close()
    looked_at = []

    def segment(*given, frames, **options):
        looked_at.extend(frames)
        return real(*given, frames=frames, **options)

    real = ranking.segment
    monkeypatch.setattr(ranking, "segment", segment)
    (one,) = rank(tiny_checkpoint(), project, ["loop"], [])
    assert not one.problem and len(looked_at) == 8 and looked_at[-1][0] > 40


def write_stacks(folder, count=10):
    """Oblique stacks of discs as NIfTI, the second slice blank, and their labels."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed in range(count):
        scan, label = loop(seed)
        for kind, array in (("images", scan.array), ("labels", label)):
            image = nib.Nifti1Image(np.asarray(array, np.float32).T, OBLIQUE[:, [2, 1, 0, 3]])
            nib.save(image, folder / kind / f"p{seed:02d}_stack.nii.gz")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
def test_a_2d_network_is_trained_on_stacks_by_the_command(tmp_path):
    settings = {"updates": 130, "learning_rate": 5e-3, "validate_every": 130}
    settings["augmentation"] = STILL.model_dump(mode="json")
    config = configuration(write_stacks(tmp_path), settings)
    result = CliRunner().invoke(app, ["train", str(config), "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    path = tmp_path / "run" / "checkpoint.safetensors"
    metadata = load_checkpoint(path).metadata
    assert metadata.architecture.dims == 2
    assert {m.cases for m in metadata.metrics} == {2}, "a stack is one case"
    assert metadata.calibration.cases == 2
    assert "6 training, 2 validation and 2 test cases" in metadata.training.split
    assert (tmp_path / "run" / "cases.png").stat().st_size > 1000

    stack, out = tmp_path / "images" / "p00_stack.nii.gz", tmp_path / "out"
    line = ["segment", str(stack), "-m", str(path), "-o", str(out), "-n", "1"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    made = nib.load(next(out.rglob("*p00_stack*.nii.gz")))
    np.testing.assert_allclose(made.affine, nib.load(stack).affine, atol=1e-5)
    assert mean_dsc(np.asarray(made.dataobj).T, loop(0)[1], 2) > 0.6

    report = tmp_path / "report"
    line = ["evaluate", str(path), str(config), "-o", str(report), "--parts", "overlap"]
    line += ["--samples", "2"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert json.loads((report / "report.json").read_text())


def test_a_blank_stack_is_named_before_the_training(tmp_path, assert_sentence):
    config = configuration(write_stacks(tmp_path))
    blank = tmp_path / "images" / "p03_stack.nii.gz"
    image = nib.load(blank)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), blank)
    result = CliRunner().invoke(app, ["train", str(config), "-o", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert_sentence(
        result.stderr.strip().splitlines()[-1], "Every slice of p03_stack is blank; leave it out."
    )


def test_one_slice_stands_for_a_volume_always_the_same():
    case = by_slice(loop_case())
    first, second = one_image(case), one_image(case)
    assert first.name == second.name and first.name.startswith("loop, slice ")
    index = int(first.name.split()[-1])
    assert index in case.slices
    scan, label = loop(0)
    image, expert = first.read()
    np.testing.assert_array_equal(image.array, scan.array[index])
    np.testing.assert_array_equal(expert, label[index])
    assert image.shape == scan.shape[1:]
