"""Calibration: measured correctly, stored, and applied only where it is valid."""

import functools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import binom

from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Calibration
from napari_ldseg.commands.info import describe
from napari_ldseg.datasets.case import Case
from napari_ldseg.errors import LDSegError
from napari_ldseg.evaluation import calibration as measuring
from napari_ldseg.evaluation.calibration import (
    conformal_factors,
    fit_temperature,
    measure_calibration,
    near_boundary,
    validated_temperature,
)
from napari_ldseg.inference.calibration import (
    apply_temperature,
    describe_ranking,
    volume_interval,
    volume_scale,
)
from napari_ldseg.inference.posterior import Posterior
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.scan import Scan

IMAGE = np.random.default_rng(0).random((24, 19), dtype=np.float32)


def calibration(**changes):
    fields = {
        "samples": 4,
        "steps": 4,
        "split": "validation",
        "cases": 40,
        "temperature": 2.0,
        "volume_factors": (3.0,),
    }
    return Calibration(**fields | changes)


def with_calibration(checkpoint, found):
    metadata = checkpoint.metadata.model_copy(update={"calibration": found})
    return Checkpoint(metadata, checkpoint.model)


def cases(count, patients=None):
    def scan(i):
        return Scan(np.random.default_rng(i).random((24, 20), dtype=np.float32), name=f"case {i}")

    def label(i):
        return (np.random.default_rng(99 + i).random((24, 20)) > 0.5).astype(np.uint8)

    return [
        Case(
            f"case {i}",
            f"patient {i % (patients or count)}",
            functools.partial(scan, i),
            (functools.partial(label, i),),
        )
        for i in range(count)
    ]


def miscalibrated(temperatures, classes=2, voxels=4000):
    """Cases with labels drawn from p, for which a model reports p^T, normalised."""
    generator = np.random.default_rng(0)
    for true in temperatures:
        honest = generator.dirichlet(np.full(classes, 2.0), voxels).T
        label = (honest.cumsum(0) < generator.random(voxels)).sum(0)
        yield apply_temperature(honest, 1 / true), label


def test_temperature_is_used_only_if_it_passes_cross_validation():
    assert validated_temperature(list(miscalibrated([2.5] * 8))) == pytest.approx(2.5, rel=0.06)
    inconsistent = list(miscalibrated([0.4, 2.6, 0.5, 2.4, 2.2, 0.6, 2.5]))
    assert fit_temperature(inconsistent) > 1.1
    assert validated_temperature(inconsistent) == 1
    assert validated_temperature(inconsistent[1:2]) == 1, "one case is not enough"
    assert validated_temperature([]) == 1


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 4])
def test_fitted_temperature_undoes_a_known_miscalibration(true, classes):
    near = list(miscalibrated([true] * 8, classes))
    assert fit_temperature(near) == pytest.approx(true, rel=0.06)


def test_temperature_keeps_classes_and_makes_probabilities():
    p = np.random.default_rng(1).dirichlet(np.ones(3), 500).T.astype(np.float32)
    for temperature in (0.3, 1.0, 4.0):
        changed = apply_temperature(p, temperature)
        np.testing.assert_array_equal(changed.argmax(0), p.argmax(0))
        np.testing.assert_allclose(changed.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(apply_temperature(p, 1.0), p, atol=1e-5)
    assert np.isfinite(apply_temperature(np.array([[1.0], [0.0]], np.float32), 0.1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("n", [19, 40])
def test_conformal_intervals_reach_their_level(n):
    """On simulated cases whose samples are biased and five times too narrow."""
    generator = np.random.default_rng(3)
    trials, inside = 3000, 0
    for _ in range(trials):
        expert = generator.lognormal(7, 0.4, n + 1)
        wrong = expert * generator.normal(1.05, 0.1, n + 1)
        samples = wrong[:, None] * generator.normal(1, 0.02, (n + 1, 10))
        mean, scale = np.array([volume_scale(s[:, None]) for s in samples]).squeeze(-1).T
        scores = np.abs(expert - mean) / scale
        factors = conformal_factors(list(scores[:n, None, None]), 0.95)
        low, high = volume_interval(samples[n][:, None], factors)[0]
        inside += low <= expert[n] <= high
    assert binom.ppf(0.001, trials, 0.95) <= inside
    assert inside <= binom.ppf(0.999, trials, 0.95 + 1 / (n + 1))


def test_no_factors_from_fewer_than_nineteen_cases():
    scores = np.arange(40.0)[:, None, None]
    assert conformal_factors(scores[:18], 0.95) is None
    assert conformal_factors(scores[:19], 0.95) == 18
    assert conformal_factors(scores, 0.95) == 38
    assert conformal_factors(scores, 0.99) is None
    with pytest.raises(ValidationError, match="at least 19 patients"):
        calibration(cases=18)
    assert not calibration(cases=39).claims_coverage and calibration(cases=40).claims_coverage


def test_scale_has_a_minimum():
    mean, scale = volume_scale(np.array([[1000, 0], [1000, 0]]))
    np.testing.assert_array_equal(mean, [1000, 0])
    np.testing.assert_array_equal(scale, [20, 1])
    np.testing.assert_array_equal(
        volume_interval(np.array([[1000, 0]]), np.array([100.0, 2.0])), [[0, 3000], [0, 2]]
    )


def test_band_is_near_the_boundary_only():
    labels = np.zeros((30, 30), np.uint8)
    labels[:, 15:] = 1
    columns = near_boundary(labels).all(0)
    assert list(np.flatnonzero(columns)) == list(range(9, 21))
    assert not near_boundary(np.zeros((4, 4))).any()


def test_applied_where_samples_steps_and_sampler_match(tiny_checkpoint):
    checkpoint = with_calibration(tiny_checkpoint(2), calibration())
    posterior = segment(checkpoint, IMAGE, 4)
    bare = segment(tiny_checkpoint(2), IMAGE, 4)
    np.testing.assert_array_equal(posterior.labels, bare.labels)
    np.testing.assert_array_equal(posterior.mean_probability, bare.mean_probability)
    changed = posterior.calibrated_probability
    np.testing.assert_allclose(changed, apply_temperature(bare.mean_probability, 2.0))
    assert np.abs(changed - bare.mean_probability).max() > 0.01
    mean, scale = volume_scale(posterior.voxel_counts()[:, 1:])
    ((low, high),) = posterior.volume_intervals()
    size = np.count_nonzero(posterior.labels == 1)  # the interval is never beside the label map
    assert high == pytest.approx(max(mean[0] + 3 * scale[0], size))
    assert low == pytest.approx(min(max(mean[0] - 3 * scale[0], 0), size))
    summary = posterior.summary()
    assert summary["classes"]["class 1"]["interval"] == [low, high]
    assert summary["calibrated"]["intervals"] and summary["calibrated"]["probability"]
    assert "95% of cases like those of the 40 patients" in summary["calibrated"]["meaning"]
    assert summary["provenance"]["calibrated"] is True


@pytest.mark.parametrize(
    ("found", "n", "steps", "words"),
    [
        (None, 4, 4, "has no calibration"),
        (calibration(), 5, 4, "calibrated for 4 samples with 4 steps, this result has 5 with 4"),
        (calibration(), 4, 3, "this result has 4 with 3"),
        (calibration(sampler="ddpm"), 4, 4, "the sampler ddpm, this result is of ddim"),
    ],
)
def test_not_applied_elsewhere_and_the_reason_is_reported(
    found, n, steps, words, tiny_checkpoint, assert_sentence
):
    posterior = segment(with_calibration(tiny_checkpoint(2), found), IMAGE, n, steps=steps)
    assert posterior.calibrated_probability is None
    voxels = posterior.voxel_counts()[:, 1]
    every = [*voxels, np.count_nonzero(posterior.labels == 1)]
    np.testing.assert_array_equal(posterior.volume_intervals(), [[min(every), max(every)]])
    calibrated = posterior.summary()["calibrated"]
    assert not calibrated["probability"] and not calibrated["intervals"]
    assert_sentence(calibrated["meaning"], "Not calibrated", words)
    assert posterior.summary()["provenance"]["calibrated"] is False


def test_a_result_is_calibrated_once_it_has_all_its_samples(tiny_checkpoint):
    sampler = PosteriorSampler(with_calibration(tiny_checkpoint(2), calibration()), IMAGE)
    list(sampler.run(3))
    assert sampler.posterior.not_calibrated
    list(sampler.run(1))
    assert sampler.posterior.not_calibrated is None


def test_few_cases_calibrate_probabilities_only(tiny_checkpoint):
    found = calibration(cases=12, volume_factors=None)
    posterior = segment(with_calibration(tiny_checkpoint(2), found), IMAGE, 4)
    assert posterior.calibrated_probability is not None
    assert "12 validation patients are too few" in posterior.summary()["calibrated"]["meaning"]
    between = with_calibration(tiny_checkpoint(2), calibration(cases=23))
    calibrated = segment(between, IMAGE, 4).summary()["calibrated"]
    assert calibrated["intervals"] and "23 patients only" in calibrated["meaning"]
    assert "95" not in calibrated["meaning"]


def test_intervals_of_single_images_do_not_hold_for_a_stack_of_slices(tiny_checkpoint):
    checkpoint = with_calibration(tiny_checkpoint(2), calibration())
    posterior = segment(checkpoint, np.stack([IMAGE] * 3), 4)
    assert posterior.calibrated_probability is not None
    assert "several slices" in posterior.summary()["calibrated"]["meaning"]


@pytest.mark.slow
def test_measured_stored_and_described(tiny_checkpoint, tmp_path, capsys):
    checkpoint = tiny_checkpoint(2)
    found = measure_calibration(checkpoint, cases(20), 3)
    assert (found.samples, found.steps, found.sampler, found.cases) == (3, 4, "ddim", 20)
    assert len(found.volume_factors) == 1 and 0.1 <= found.temperature <= 10
    assert found == measure_calibration(checkpoint, cases(20), 3)
    path = save_checkpoint(with_calibration(checkpoint, found), tmp_path / "m.safetensors")
    loaded = load_checkpoint(path)
    assert loaded.metadata.calibration == found
    describe(path)
    assert "95% volume intervals (too few patients to promise" in capsys.readouterr().out
    # The intervals hold for all of its 20 cases except the worst.
    held = [
        low <= expert.sum() <= high
        for i, case in enumerate(cases(20))
        for scan, expert in [case.read()]
        for ((low, high),) in [segment(loaded, scan, 3, seed=i).volume_intervals()]
    ]
    assert sum(held) >= 19


def test_a_patient_with_many_cases_counts_once_and_all_of_its_cases_do():
    """On simulated patients whose cases are alike, one patient in twenty with a hundred of them."""
    generator = np.random.default_rng(3)
    trials, inside = 2000, 0
    for _ in range(trials):
        patients = []
        for _ in range(41):
            many = generator.random() < 0.05
            own = generator.normal(2 if many else 0, 1)
            patients.append(np.abs(own + generator.normal(0, 0.3, (100 if many else 2, 1))))
        (factor,) = conformal_factors(patients[:-1], 0.95)
        inside += generator.choice(patients[-1].ravel()) <= factor
    assert binom.ppf(0.001, trials, 0.95) <= inside <= binom.ppf(0.999, trials, 0.95 + 1 / 41)


def test_factors_of_patients_with_several_cases():
    scores = [np.array([[i], [100.0 + i]]) for i in range(40)]
    # 41 * 0.95 = 38.95 = 20 of the lower ones and 38 halves of the higher ones, rounded up.
    assert conformal_factors(scores, 0.95) == 137
    assert conformal_factors(scores[:18], 0.95) is None


def test_how_well_the_expected_error_ranks_is_measured_and_stated(tiny_checkpoint, monkeypatch):
    """On cases whose labels are the model's, more and more of them wrong, as it expects or not."""
    known = iter(np.tile(np.arange(40) / 40, 2))
    monkeypatch.setattr(Posterior, "expected_error", lambda posterior: next(known))
    for order in (1, -1):
        wrong = [0.01 * (i if order > 0 else 39 - i) for i in range(40)]
        monkeypatch.setattr(measuring, "mean_dsc", lambda *_, wrong=wrong: 1 - wrong.pop(0))
        found = measure_calibration(tiny_checkpoint(2), cases(40), 1, 2)
        assert found.rank_correlation == order
        said = describe_ranking(found)
        assert said is None if order > 0 else "was -1.00 on the cases of 40 validation" in said
    assert describe_ranking(None) is None and describe_ranking(calibration()) is None


def test_cases_of_one_patient_count_once(tiny_checkpoint):
    found = measure_calibration(tiny_checkpoint(2), cases(24, patients=12), 2, 2)
    assert found.cases == 12 and found.volume_factors is None and found.rank_correlation is None
    with pytest.raises(LDSegError, match="no validation cases"):
        measure_calibration(tiny_checkpoint(2), [], 2)


def test_checkpoints_without_calibration_are_valid(tiny_checkpoint, tmp_path, capsys):
    checkpoint = tiny_checkpoint(2)
    assert "calibration" in checkpoint.metadata.model_dump()
    old = checkpoint.metadata.model_dump(mode="json", exclude={"calibration"})
    assert type(checkpoint.metadata).model_validate(old).calibration is None
    describe(save_checkpoint(checkpoint, tmp_path / "old.safetensors"))
    assert "not calibrated" in capsys.readouterr().out


def test_factors_must_fit_the_classes(tiny_metadata):
    with pytest.raises(ValidationError, match="2 volume factors for 1 classes"):
        tiny_metadata(2, calibration=calibration(volume_factors=(1.0, 2.0)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 1.5}, "number of samples"),
        ({"n": 2, "steps": 2.5}, "number of steps"),
        ({"n": 2, "seed": "a"}, "seed"),
        ({"checkpoint": "model.safetensors"}, "load_checkpoint"),
        ({"scan": "scan.nii.gz"}, "read_scan"),
    ],
)
def test_wrong_kinds_of_argument_are_one_sentence(
    arguments, words, tiny_checkpoint, assert_sentence
):
    keywords = {"checkpoint": tiny_checkpoint(2), "scan": IMAGE} | arguments
    with pytest.raises(LDSegError) as error:
        segment(keywords.pop("checkpoint"), keywords.pop("scan"), **keywords)
    assert_sentence(error, words)
    assert segment(tiny_checkpoint(2), IMAGE, np.int64(1), seed=np.int32(3)).n == 1


def test_ties_from_the_temperature_do_not_change_a_label(tiny_checkpoint):
    checkpoint = with_calibration(tiny_checkpoint(2), calibration(temperature=10.0))
    posterior = PosteriorSampler(checkpoint, IMAGE, steps=4).posterior
    p = torch.tensor([0.49999997, 0.50000003]).reshape(2, 1, 1).expand(2, *IMAGE.shape)
    for sample in range(4):
        posterior.add((), sample, p, torch.zeros(1))
    posterior.provenance["steps"] = 4
    assert posterior.not_calibrated is None and (posterior.labels == 1).all()
