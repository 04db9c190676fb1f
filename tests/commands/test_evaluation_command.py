"""``napari-ldseg evaluate`` on small folders: the report agrees with independent measurements."""

import functools
import json
import re

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from scipy.stats import spearmanr
from skimage.io import imsave
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Calibration
from napari_ldseg.cli import app
from napari_ldseg.datasets.split import Split
from napari_ldseg.evaluation import predictions as runs
from napari_ldseg.evaluation import study
from napari_ldseg.evaluation.alternatives import find_alternatives, mean_distance
from napari_ldseg.evaluation.overlap import overlap
from napari_ldseg.evaluation.readers import sample_labels
from napari_ldseg.evaluation.surface import surface_metrics
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.files import read_scan

ALL_PARTS = ["--parts", "overlap,steps,noise,uncertainty"]


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def report(folder):
    return json.loads((folder / "report.json").read_text())


def metric_row(found, **fields):
    """Return the only metric with these fields."""
    rows = [f for f in found["figures"] if all(f.get(k) == v for k, v in fields.items())]
    assert len(rows) == 1, (fields, rows)
    return rows[0]


def disc(seed, shape=(20, 24)):
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0.35, 0.65, 2) * shape
    squares = (np.indices(shape) - centre[:, None, None]) ** 2
    label = (squares.sum(0) < rng.uniform(3, 6) ** 2).astype(np.uint8)
    return (rng.normal(60, 10, shape) + 120 * label).clip(0, 255).astype(np.uint8), label


@pytest.fixture
def data(tmp_path):
    """A folder of five grey 2D images with labels."""
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for seed in range(5):
        image, label = disc(seed)
        imsave(folder / "images" / f"p{seed // 2}_{seed}.png", image, check_contrast=False)
        imsave(folder / "labels" / f"p{seed // 2}_{seed}.png", label, check_contrast=False)
    return folder


@pytest.fixture
def saved(tiny_checkpoint, tmp_path):
    """Save a tiny checkpoint and return its path."""

    def save(name="tiny", calibration=None, **options):
        made = tiny_checkpoint(**options)
        metadata = made.metadata.model_copy(update={"name": name, "calibration": calibration})
        path = tmp_path / f"{name}.safetensors"
        return save_checkpoint(Checkpoint(metadata, made.model), path)

    return save


@pytest.mark.slow
def test_a_complete_report(data, saved, tmp_path):
    path, baseline, other = (
        saved(),
        saved("plain", label_steps=3),
        saved("other", posterior_steps=7),
    )
    out = tmp_path / "report"
    answer = evaluate(
        *(path, data, "-o", out, *ALL_PARTS, "--samples", 3, "--steps", "2,3"),
        *("--noise", "0,0.2", "--baseline", baseline, "--compare", other),
        *("--patient", "(p.)_", "--seed", 5, "--device", "cpu"),
    )
    assert answer.exit_code == 0, answer.output
    assert "DSC" in answer.stdout and "report.html" in answer.stdout
    assert "45/45" in answer.stderr and "left" in answer.stderr
    found = report(out)
    assert found["data"]["cases"] == 5 and found["data"]["patients"] == 3
    assert found["settings"]["unit"] == "pixels" and found["settings"]["tolerance"] == 2
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.json"]

    checkpoint = load_checkpoint(path)
    files = sorted((data / "images").iterdir())
    experts = [read_scan(data / "labels" / file.name).array for file in files]

    def expected(measure, n, steps):
        labels = [
            segment(checkpoint, read_scan(file), n, seed=5, steps=steps).labels for file in files
        ]
        values = [measure(label, e) for label, e in zip(labels, experts, strict=True)]
        return float(np.mean(values))

    dsc = functools.partial(overlap, classes=2)
    row = metric_row(found, part="overlap", metric="DSC", model="tiny")
    assert row["value"] == pytest.approx(expected(lambda a, b: dsc(a, b)[0], 3, None), abs=1e-6)
    assert (row["samples"], row["steps"], row["cases"], row["patients"]) == (3, 4, 5, 3)
    assert row["low"] <= row["value"] <= row["high"]
    row = metric_row(found, part="overlap", metric="HD95", model="tiny")

    def hd95(label, expert):
        return surface_metrics(label, expert, 2, (1, 1), 2)[0]

    assert row["value"] == pytest.approx(expected(hd95, 3, None), abs=1e-5)
    for steps in (2, 3):
        row = metric_row(found, part="steps", metric="DSC", model="tiny", steps=steps)
        value = expected(lambda a, b: dsc(a, b)[0], 1, steps)
        assert row["value"] == pytest.approx(value, abs=1e-6)
        assert (
            metric_row(found, metric="seconds", model="tiny", samples=1, steps=steps)["value"] > 0
        )
    clean, noisy = (
        metric_row(found, part="noise", metric="DSC", model="tiny", noise=sd)["value"]
        for sd in (0, 0.2)
    )
    assert clean == metric_row(found, part="steps", metric="DSC", model="tiny", steps=2)["value"]
    assert noisy != clean
    assert metric_row(found, part="noise", metric="DSC", model="plain", noise=0.2)["steps"] == 3
    scores = {f["detail"] for f in found["figures"] if f["metric"] == "AUROC"}
    assert scores == {
        *("sample SD", "predictive SD", "distance to the boundary"),
        *("entropy of plain", "entropy, own errors"),
    }
    assert [row["model"] for row in found["ablation"]] == ["tiny", "plain", "other"]
    assert found["ablation"][1]["settings"] == {"label_steps": 3, "posterior_steps": 4}
    assert found["ablation"][2]["settings"] == {"label_steps": 2, "posterior_steps": 7}

    page = (out / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 6
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "None" not in page
    for text in ("tiny", "plain", "other", "class 1", "pixels", "no claim", "AUROC", "K = 4"):
        assert text in page


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_a_deterministic_network_alone_and_as_the_baseline(
    data, saved, tiny_metadata, tmp_path, assert_sentence
):
    metadata = tiny_metadata(
        name="plain net", networks="res-unet", label_steps=1, posterior_steps=1
    )
    torch.manual_seed(0)
    network = build_model(metadata).eval().requires_grad_(False)
    plain = save_checkpoint(Checkpoint(metadata, network), tmp_path / "plain.safetensors")
    out = tmp_path / "report"
    command = (saved(), data, "-o", out, *ALL_PARTS, "--samples", 2, "--steps", "2,3")
    assert evaluate(*command, "--baseline", plain).exit_code == 0
    metric_row(found := report(out), part="steps", metric="DSC", model="plain net", steps=1)
    assert metric_row(found, detail="entropy of plain net")["model"] == "tiny"
    assert evaluate(plain, data, "-o", out).exit_code == 0
    found = report(out)
    assert found["settings"]["samples"] == 1
    scores = {f["detail"] for f in found["figures"] if f["metric"] == "AUROC"}
    assert scores == {"predictive SD", "distance to the boundary"}
    refuse(assert_sentence, plain, data, "-o", out, "--parts", "steps", words=["no sampling"])


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_the_same_command_gives_the_same_metrics(data, saved, tmp_path):
    def metrics(folder, seed):
        command = (saved(), data, "-o", folder, *ALL_PARTS, "--samples", 3, "--steps", "2")
        assert evaluate(*command, "--seed", seed).exit_code == 0
        return [f for f in report(folder)["figures"] if f["metric"] != "seconds"]

    first = metrics(tmp_path / "a", 1)
    assert first == metrics(tmp_path / "a", 1)
    assert first != metrics(tmp_path / "b", 2)


@pytest.mark.usefixtures("without_plots")
def test_models_of_one_name_are_labelled_by_their_paths(data, tiny_checkpoint, tmp_path):
    made = tiny_checkpoint()
    first, second, third = (
        save_checkpoint(made, tmp_path / folder / "checkpoint.safetensors")
        for folder in ("runs/a", "runs/b", "old/a")
    )
    compare = [f"--compare={path}" for path in (second, third, second)]
    options = ("--parts", "overlap", "--samples", 1, "--cases", 1)
    answer = evaluate(first, data, "-o", tmp_path / "out", *options, *compare)
    assert answer.exit_code == 0, answer.output
    rows = report(tmp_path / "out")["figures"]
    name = made.metadata.name
    assert {row["model"] for row in rows if row["part"] == "ablation"} == {
        f"{name} (runs/a/checkpoint)",
        f"{name} (b/checkpoint)",
        f"{name} (old/a/checkpoint)",
        f"{name} (b/checkpoint), 2",
    }


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_no_image_is_segmented_twice(data, saved, tmp_path, monkeypatch):
    seen = []

    class Counting(runs.PosteriorSampler):
        def run(self, n):
            seen.append((self.metadata.name, self.scan.array.tobytes(), n, self.steps_for(n)))
            return super().run(n)

    monkeypatch.setattr(runs, "PosteriorSampler", Counting)
    options = ("--samples", 2, "--steps", "2,3", "--noise", "0,0.1", "--cases", 2)
    models = ("--baseline", saved("plain"), "--compare", saved("other"))
    answer = evaluate(saved(), data, "-o", tmp_path, *ALL_PARTS, *options, *models)
    assert answer.exit_code == 0, answer.output
    # tiny: the posterior, K = 2 and 3, one noise; plain: clean and noisy; other: once.
    assert len(seen) == len(set(seen)) == 2 * (4 + 2 + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_cases_are_drawn_by_the_seed(data, saved, tmp_path):
    def names(seed):
        command = (saved(), data, "-o", tmp_path, "--cases", 3, "--seed", seed, "--json")
        answer = evaluate(*command, "--samples", 2, "--parts", "overlap")
        found = json.loads(answer.stdout)
        assert found == report(tmp_path) and found["data"]["available"] == 5
        return [case["case"] for case in found["cases"]]

    drawn = {tuple(names(seed)) for seed in range(4)}
    assert len(drawn) > 1 and all(len(n) == 3 and list(n) == sorted(n) for n in drawn)
    assert names(0) in [list(n) for n in drawn]


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_volumes_are_measured_in_mm_on_their_own_grid(saved, tmp_path):
    """An oblique, anisotropic volume: HD95 in the file's millimetres."""
    folder = tmp_path / "volumes"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.5, 2.0, 1.5])
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        label = np.zeros((24, 10, 12), np.uint8)
        label[6:16, 3:7, 3:8] = 1
        image = (rng.normal(0, 0.1, label.shape) + label).astype(np.float32)
        nib.save(nib.Nifti1Image(image, affine), folder / "images" / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / "labels" / f"{name}.nii.gz")
    path = saved(dims=3)
    answer = evaluate(path, folder, "-o", tmp_path / "report", "--samples", 2)
    assert answer.exit_code == 0, answer.output
    found, checkpoint, values = report(tmp_path / "report"), load_checkpoint(path), []
    assert found["settings"]["unit"] == "mm" and found["settings"]["tolerance"] == 1
    for name in ("a", "b"):
        scan = read_scan(folder / "images" / f"{name}.nii.gz")
        assert scan.spacing == pytest.approx((1.5, 2.0, 0.5))
        labels = segment(checkpoint, scan, 2).labels
        expert = read_scan(folder / "labels" / f"{name}.nii.gz").array
        values.append(surface_metrics(labels, expert, 2, scan.spacing, 1.0)[0, 0])
    assert metric_row(found, metric="HD95")["value"] == pytest.approx(
        float(np.mean(values)), abs=1e-4
    )
    assert "in mm" in (tmp_path / "report" / "report.html").read_text()


@pytest.fixture
def several_readers(data):
    """Three readers' labels for the images; those of the third are empty."""
    for number, change in enumerate((lambda a: a, lambda a: np.roll(a, 2, 1), lambda a: a * 0), 1):
        (data / f"reader{number}").mkdir()
        for file in (data / "labels").iterdir():
            label = change(read_scan(file).array)
            imsave(data / f"reader{number}" / file.name, label, check_contrast=False)
    return data


@pytest.mark.slow
def test_several_readers(several_readers, saved, tmp_path):
    names = [part for n in (1, 2, 3) for part in ("--labels", f"reader{n}")]
    answer = evaluate(saved(), several_readers, "-o", tmp_path / "report", *names)
    assert answer.exit_code == 0, answer.output
    found = report(tmp_path / "report")
    assert found["settings"]["samples"] == 16 and found["data"]["readers"] == 3
    assert found["settings"]["parts"] == ["overlap", "uncertainty", "readers"]
    assert 0 <= metric_row(found, metric="GED^2")["value"] < 2
    assert 0 <= metric_row(found, metric="matched IoU")["value"] <= 1
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Several readers" in page and "majority" in page

    # The readers' labels are a disc, the same disc shifted by 2 pixels, and empty.
    checkpoint, cases = load_checkpoint(tmp_path / "tiny.safetensors"), found["cases"]
    counts, spread, disagreement = [], [], []
    for case in cases:
        own = {(f["metric"], f["detail"]): f["value"] for f in case["figures"]}
        scan = read_scan(several_readers / "images" / f"{case['case']}.png")
        sampler = PosteriorSampler(checkpoint, scan, seed=0, steps=4, keep_labels=True)
        for _ in sampler.run(16):
            pass
        samples = sample_labels(sampler.posterior)
        assert own["alternatives", None] == len(find_alternatives(samples, 2))
        assert own["distance", "between samples"] == pytest.approx(mean_distance(samples, 2))
        assert own["different readings", None] in (2, 3)
        assert own["empty label maps", "of the readers"] == pytest.approx(1 / 3)
        counts.append(own["alternatives", None])
        spread.append(own["distance", "between samples"])
        disagreement.append(own["distance", "between readers"])
    shares = [f["value"] for f in found["figures"] if f["metric"] == "cases with"]
    assert shares == [counts.count(1) / 5, counts.count(2) / 5, sum(c > 2 for c in counts) / 5]
    assert metric_row(found, metric="alternatives")["value"] == np.mean(counts)
    row = metric_row(found, metric="rank correlation")  # all cases have as many alternatives
    assert len(set(counts)) == 1 and row["detail"].startswith("of distance between samples")
    assert row["value"] == pytest.approx(spearmanr(spread, disagreement).statistic)
    assert row["low"] <= row["value"] <= row["high"] and row["patients"] == 5
    for text in ("Of the cases with one alternative", "readers covered by any alternative"):
        assert text in page
    section = page[page.index('id="readers"') : page.index('id="time"')]
    assert section.count('src="data:image/png;base64,') == 2


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_rank_correlation_of_empty_samples_and_empty_readers(
    several_readers, saved, tmp_path, monkeypatch
):
    """From case to case more samples are empty, and as many or more readers' labels."""
    files = sorted((several_readers / "images").iterdir())
    for number, file in enumerate(files):
        for reader in (1, 2):
            if number >= 3 * reader - 2:
                path = several_readers / f"reader{reader}" / file.name
                imsave(path, read_scan(path).array * 0, check_contrast=False)
    empty = [0, 1, 2, 3, 5]
    mask, order = disc(1)[1], []

    def fake_samples(posterior):
        key = posterior.mean_probability.tobytes()
        if key not in order:
            order.append(key)
        return [mask * (i >= empty[order.index(key)]) for i in range(16)]

    monkeypatch.setattr(study, "sample_labels", fake_samples)
    names = [part for n in (1, 2, 3) for part in ("--labels", f"reader{n}")]
    out = tmp_path / "report"
    answer = evaluate(saved(), several_readers, "-o", out, *names, "--parts", "readers")
    assert answer.exit_code == 0, answer.output
    found = report(out)
    row = metric_row(found, metric="rank correlation", detail="of empty samples with empty readers")
    readers = [1 / 3, 2 / 3, 2 / 3, 2 / 3, 1]
    assert row["value"] == pytest.approx(spearmanr(empty, readers).statistic)
    share = metric_row(found, metric="empty label maps", detail="of the samples")["value"]
    assert share == pytest.approx(np.mean(empty) / 16)
    assert "of empty samples with empty readers" in (out / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_several_readers_of_one_volume(saved, tmp_path):
    """One case, three classes: the section has a slice of it and no correlation."""
    folder, out = tmp_path / "volumes", tmp_path / "report"
    label = np.zeros((12, 10, 8), np.uint8)
    label[3:8, 3:7, 2:6], label[8:10, 3:7, 2:6] = 1, 2
    for name, array in (("images", label * 50.0), ("one", label), ("two", label * (label < 2))):
        (folder / name).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), folder / name / "a.nii.gz")
    command = ("--labels", "one", "--labels", "two", "--samples", 3, "--parts", "readers")
    answer = evaluate(saved(dims=3, classes=3), folder, "-o", out, *command)
    assert answer.exit_code == 0, answer.output
    found = report(out)
    assert metric_row(found, metric="different readings")["value"] == 1
    assert metric_row(found, metric="distance", detail="between readers")["value"] == 0.5
    assert not [f for f in found["figures"] if f["metric"] == "rank correlation"]
    assert re.search(r"a: a, slice \d+\.", (out / "report.html").read_text())


@pytest.mark.slow
def test_colour_images_with_numbered_objects(saved, tmp_path):
    folder = tmp_path / "colour"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for seed in range(2):
        image, label = disc(seed)
        rgb = np.stack([image, image // 2, 255 - image], -1)
        imsave(folder / "images" / f"{seed}.png", rgb, check_contrast=False)
        imsave(folder / "labels" / f"{seed}.png", label * 7, check_contrast=False)
    out = tmp_path / "report"
    command = (saved(channels=3), folder, "-o", out, "--samples", 2, "--instances")
    assert evaluate(*command).exit_code == 0
    answer = evaluate(*command[:-1])
    assert answer.exit_code == 1 and "holds the value 7" in answer.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_a_runs_folder_gives_the_held_out_cases(data, saved, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    config = {
        "name": "tiny",
        "data": {"folder": str(data), "patient": "(p.)_"},
        "classes": ["background", "disc"],
        "grid": {"size": [16, 16]},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    path, out = saved(), tmp_path / "report"
    arguments = ("-o", out, "--samples", 2, "--parts", "overlap")

    def names(source, *more):
        answer = evaluate(path, source, *arguments, *more)
        assert answer.exit_code == 0, answer.output
        return [case["case"] for case in report(out)["cases"]]

    everything = [f"p{i // 2}_{i}" for i in range(5)]
    assert names(run) == everything
    split = Split(training=("p0_0", "p0_1"), validation=("p1_2", "p1_3"), test=())
    (run / "split.json").write_text(split.model_dump_json())
    assert names(run) == ["p1_2", "p1_3"] == names(run / "config.yaml")
    assert names(run, "--split", "training") == ["p0_0", "p0_1"]
    assert names(run, "--split", "all") == everything
    split = split.model_copy(update={"test": ("p2_4",)})
    (run / "split.json").write_text(split.model_dump_json())
    assert names(run) == ["p2_4"]
    assert metric_row(report(out), metric="DSC")["low"] is None
    answer = evaluate(path, run, *arguments, "--split", "half")
    assert answer.exit_code == 1 and "training, validation, test or all" in answer.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_before_and_after_calibration(data, saved, tmp_path):
    calibration = Calibration(
        samples=3, steps=4, split="validation", cases=25, temperature=2.0, volume_factors=(1e6,)
    )
    path, out = saved("calibrated", calibration), tmp_path / "report"
    assert evaluate(path, data, "-o", out).exit_code == 0
    found = report(out)
    assert found["settings"]["samples"] == 3 and found["settings"]["not_calibrated"] is None
    details = [r["detail"] for r in found["reliability"]]
    assert details == [None, "samples alone", "samples alone, calibrated"]
    assert len({metric_row(found, metric="ECE", detail=d)["value"] for d in details}) == 3
    # The interval is so wide that it contains every volume.
    assert metric_row(found, metric="coverage", detail="calibrated")["value"] == 1
    assert "25 validation patients" in (out / "report.html").read_text()
    assert evaluate(path, data, "-o", out, "--samples", 2).exit_code == 0
    found = report(out)
    assert [r["detail"] for r in found["reliability"]] == [None]
    assert "calibrated for 3 samples" in found["settings"]["not_calibrated"]
    assert "Not calibrated" in (out / "report.html").read_text()


def refuse(assert_sentence, *arguments, words=()):
    answer = evaluate(*arguments)
    assert answer.exit_code == 1 and not answer.stdout, answer.output
    assert_sentence(answer.stderr.strip().splitlines()[-1], *words)


def test_invalid_input(data, saved, tmp_path, assert_sentence):
    path, out = saved(), tmp_path / "report"
    rest = ("-o", out, "--samples", 2)
    check = functools.partial(refuse, assert_sentence)
    check(path, tmp_path / "nowhere", *rest, words=["nowhere", "does not exist"])
    check(tmp_path / "no.safetensors", data, *rest, words=["no.safetensors"])
    (tmp_path / "empty" / "images").mkdir(parents=True)
    (tmp_path / "empty" / "labels").mkdir()
    check(path, tmp_path / "empty", *rest, words=["empty", "no labelled images"])
    check(path, data, *rest, "--parts", "overlap,colour", words=["colour", "readers"])
    check(path, data, *rest, "--parts", "readers", words=["several readers"])
    check(path, data, *rest, "--parts", "steps", "--steps", "2,x", words=["--steps", "2,x"])
    check(path, data, *rest, "--parts", "steps", "--steps", "0", words=["1 to 1000", "not 0"])
    check(path, data, *rest, "--noise", "-1", words=["noise", "-1"])
    check(path, data, "-o", out, "--samples", 1, words=["uncertainty", "2 samples"])
    check(path, data, *rest, "--split", "test", words=["--split"])
    check(path, data, *rest, "--patient", "(p", words=["--patient"])
    check(path, data, *rest, "--tolerance", "-1", words=["tolerance", "-1"])
    other = saved("three", classes=3)
    check(path, data, *rest, "--baseline", other, words=["three", "other classes", "tiny"])
    assert not out.exists()


def test_invalid_cases_are_found_before_anything_is_segmented(
    data, saved, tmp_path, assert_sentence, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("segmented a case although another is invalid")

    monkeypatch.setattr(runs, "PosteriorSampler", never)
    path, out = saved(), tmp_path / "report"
    check = functools.partial(refuse, assert_sentence, path, data, "-o", out)
    last, label = data / "images" / "p2_4.png", data / "labels" / "p2_4.png"
    good_image, good_label = last.read_bytes(), label.read_bytes()
    imsave(label, disc(4)[1] * 3, check_contrast=False)
    check(words=["p2_4", "value 3", "0 to 1"])
    imsave(label, np.zeros((5, 5), np.uint8), check_contrast=False)
    check(words=["p2_4", "(5, 5)", "(20, 24)"])
    imsave(last, np.zeros((20, 24, 3), np.uint8), check_contrast=False)
    label.write_bytes(good_label)
    check(words=["p2_4.png", "colour"])
    label.unlink()
    check(words=["p2_4", "no label"])
    label.write_bytes(good_label)
    imsave(last, np.full((20, 24), 7, np.uint8), check_contrast=False)
    check(words=["p2_4", "same value everywhere"])
    last.unlink()
    numbers = disc(4)[0].astype(np.float32)
    numbers[3, 3] = np.nan
    imsave(last.with_suffix(".tif"), numbers, check_contrast=False)
    check(words=["p2_4", "NaN"])
    last.with_suffix(".tif").unlink()
    last.write_bytes(good_image[:40])
    check(words=["p2_4.png", "cannot be read"])
    assert not out.exists()


def test_an_unwritable_report_folder(data, saved, tmp_path, assert_sentence):
    blocked = tmp_path / "file"
    blocked.write_text("")
    command = (saved(), data, "-o", blocked / "report", "--samples", 2, "--parts", "overlap")
    refuse(assert_sentence, *command, words=["report", "could not be made"])


def test_help_has_all_options_and_examples():
    answer = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "200"})
    assert answer.exit_code == 0
    for text in ("--baseline", "--tolerance", "Examples", "napari-ldseg evaluate", "reader1"):
        assert text in answer.stdout
    assert "evaluate" in CliRunner().invoke(app, ["--help"]).stdout
