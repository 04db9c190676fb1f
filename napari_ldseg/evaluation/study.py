"""The study of ``napari-ldseg evaluate``: its predictions, and the measurements on each case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..datasets.case import Case, check_label, consensus
from ..errors import LDSegError
from ..inference.checks import check_fit
from ..inference.posterior import Posterior
from ..inference.preprocessing import check_finite
from ..scans.scan import Scan
from .alternatives import Alternative, alternative_metrics, find_alternatives
from .gallery import Gallery, display_slice, pixel_aspect, representative_slice
from .noise import add_noise
from .observations import Key, Observations
from .overlap import mean_dsc, overlap
from .plan import StudySettings, check_plan
from .predictions import CasePredictions, Model, Sampling
from .readers import energy_distance, matched_iou, sample_labels
from .surface import surface_metrics
from .uncertainty import (
    BAND,
    boundary_distance,
    entropy,
    error_auroc,
    near_boundary,
    reliability_sums,
)

MAX_ALTERNATIVES = 4  # in a plot
RANGE, CALIBRATED = "range of the samples", "calibrated"


@dataclass
class Study:
    """An evaluation and, after ``run``, its results.

    Parameters
    ----------
    model
        The checkpoint to evaluate.
    cases
        With one label or, for the part ``readers``, several labels; all with the same number.
    baseline
        A deterministic network to compare with.
    compared
        Further checkpoints for the ablation table.

    Raises
    ------
    LDSegError
        If a part cannot be measured with this model, or the checkpoints' classes differ.
    """

    model: Model
    cases: Sequence[Case]
    settings: StudySettings = field(default_factory=StudySettings)
    baseline: Model | None = None
    compared: tuple[Model, ...] = ()

    def __post_init__(self) -> None:
        check_plan(self.settings, self.cases, self.models)
        self.classes = [c.name for c in self.model.checkpoint.metadata.classes]
        self.observations = Observations(self.cases, self.settings.seed)
        self.reliability: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self.alternatives: dict[str, list[Alternative]] = {}
        self.gallery = Gallery()
        self.dsc: dict[str, float] = {}
        self.not_calibrated: str | None = None
        self.unlike: list[str] = []  # cases that are unlike the training images
        self.unit, self.tolerance = "mm", self._tolerance(1.0)
        model = self.model
        samples = model.samples_of(self.settings.samples)
        given = samples == 1 and not model.deterministic
        steps = self._posterior_steps(model)
        self.main_sampling = Sampling(model.label, samples, steps, given=given)

    @property
    def models(self) -> list[Model]:
        """The evaluated model, the baseline and the compared models."""
        return [self.model, *([self.baseline] if self.baseline else []), *self.compared]

    def samplings(self) -> list[Sampling]:
        """Return the distinct samplings that each case needs."""
        parts, needed = self.settings.parts, []
        if {"overlap", "uncertainty", "readers"} & set(parts):
            needed.append(self.main_sampling)
            if self.baseline and {"overlap", "uncertainty"} & set(parts):
                needed.append(self._single(self.baseline))
        if "steps" in parts:
            needed += self._sweep()
            needed += [self._single(self.baseline)] if self.baseline else []
        if "noise" in parts:
            needed += [
                self._noisy(m, sd) for m in self._with_baseline for sd in self.settings.noise
            ]
        if self.compared:
            needed += [self._single(m) for m in self.models]
        return list(dict.fromkeys(needed))

    def examples(self) -> dict[str, str]:
        """Return the names of the cases in the plots: those of the "best", "median" and "worst" DSC."""
        ranked = sorted(self.dsc, key=lambda name: (-self.dsc[name], name))
        positions = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
        selected: dict[str, str] = {}
        for rank in ("best", "worst", "median"):
            if ranked[positions[rank]] not in selected.values():
                selected[rank] = ranked[positions[rank]]
        return {rank: selected[rank] for rank in positions if rank in selected}

    def check(self) -> None:
        """Read every case once, so that invalid files are found before hours of sampling.

        Raises
        ------
        LDSegError
            If a file cannot be read or a case does not suit the checkpoint; the message names it.
        """
        calibrated = True
        for case in self.cases:
            scan = case.read_scan()
            if len(scan.shape) > 3:
                raise LDSegError(
                    f"{case.name} has {len(scan.shape)} axes, but evaluate needs 2D images or volumes; "
                    "remove it from the data."
                )
            for model in self.models:
                check_fit(model.checkpoint.metadata, scan)
            image = np.asarray(scan.array)
            check_finite(image, case.name)
            if image.min() == image.max():
                raise LDSegError(
                    f"{case.name} has the same value everywhere; remove it from the data."
                )
            for read in case.read_labels:
                check_label(case.name, scan, read(), len(self.classes))
            calibrated &= scan.calibrated
        if not calibrated:
            self.unit, self.tolerance = "pixels", self._tolerance(2.0)

    def run(self, on_samples: Callable[[int], None] = lambda number: None) -> None:
        """Segment and measure every case; call ``on_samples`` with the number of new samples."""
        checkpoints = {model.label: model.checkpoint for model in self.models}
        keep = {self.main_sampling}
        if self.baseline:
            keep.add(self._single(self.baseline))
        for case in self.cases:
            scan = case.read_scan()
            readers = [np.asarray(read()).astype(np.uint8) for read in case.read_labels]
            expert = readers[0] if len(readers) == 1 else consensus(readers)
            settings = self.settings
            predictions = CasePredictions(
                scan, checkpoints, keep, settings.seed, settings.device, on_samples
            )
            for sampling in self.samplings():
                self._measure_time(case.name, predictions, sampling)
            for part in settings.parts:
                if part == "readers":
                    self._measure_readers(case.name, predictions, readers)
                else:
                    getattr(self, f"_measure_{part}")(case.name, predictions, expert)
            if self.compared:
                self._measure_ablation(case.name, predictions, expert)
            self._store_panels(case.name, predictions, expert, readers)

    def _tolerance(self, default: float) -> float:
        return default if self.settings.tolerance is None else self.settings.tolerance

    @property
    def _with_baseline(self) -> list[Model]:
        return [self.model, self.baseline] if self.baseline else [self.model]

    @staticmethod
    def _posterior_steps(model: Model) -> int:
        return model.checkpoint.metadata.posterior_steps

    @staticmethod
    def _single(model: Model) -> Sampling:
        """Return the sampling of one sample with the model's ``label_steps``."""
        return Sampling(model.label, 1, model.checkpoint.metadata.label_steps)

    def _sweep(self) -> list[Sampling]:
        """Return one sample with each number of steps; with the model's own number it is its label map."""
        own = self._single(self.model)
        return [
            own if steps == own.steps else own._replace(steps=steps, given=True)
            for steps in self.settings.steps
        ]

    def _noisy(self, model: Model, sd: float) -> Sampling:
        return self._single(model)._replace(noise=sd or None)

    def _key(self, part: str, metric: str, sampling: Sampling, **more: object) -> Key:
        return Key(
            part,
            metric,
            sampling.model,
            samples=sampling.samples,
            steps=sampling.steps,
            **more,  # type: ignore[arg-type]
        )

    def reader_key(self, metric: str, detail: str | None = None) -> Key:
        """Return the key of a metric of the part ``readers``."""
        return self._key("readers", metric, self.main_sampling, detail=detail)

    def _add_dsc(self, case: str, key: Key, labels: np.ndarray, expert: np.ndarray) -> None:
        for metric, values in zip(
            ("DSC", "IoU"), overlap(labels, expert, len(self.classes)), strict=True
        ):
            self.observations.add_classes(
                case, key._replace(metric=metric), self.classes[1:], values
            )

    def _measure_time(self, case: str, predictions: CasePredictions, sampling: Sampling) -> None:
        seconds = predictions[sampling].seconds
        if sampling.noise is None:
            self.observations.add(case, self._key("time", "seconds", sampling), seconds)

    def _measure_overlap(self, case: str, predictions: CasePredictions, expert: np.ndarray) -> None:
        samplings = [self.main_sampling, *([self._single(self.baseline)] if self.baseline else [])]
        spacing = (
            predictions.scan.spacing[-expert.ndim :] if self.unit == "mm" else (1.0,) * expert.ndim
        )
        for sampling in samplings:
            labels = predictions[sampling].labels
            self._add_dsc(case, self._key("overlap", "DSC", sampling), labels, expert)
            metrics = surface_metrics(labels, expert, len(self.classes), spacing, self.tolerance)
            for metric, values in zip(("HD95", "NSD"), metrics, strict=True):
                key = self._key("overlap", metric, sampling)
                self.observations.add_classes(case, key, self.classes[1:], values)

    def _measure_steps(self, case: str, predictions: CasePredictions, expert: np.ndarray) -> None:
        samplings = self._sweep()
        samplings += [self._single(self.baseline)] if self.baseline else []
        for sampling in samplings:
            self._add_dsc(
                case, self._key("steps", "DSC", sampling), predictions[sampling].labels, expert
            )

    def _measure_noise(self, case: str, predictions: CasePredictions, expert: np.ndarray) -> None:
        for model in self._with_baseline:
            for sd in self.settings.noise:
                sampling = self._noisy(model, sd)
                key = self._key("noise", "DSC", sampling, noise=sd)
                self._add_dsc(case, key, predictions[sampling].labels, expert)

    def _measure_ablation(
        self, case: str, predictions: CasePredictions, expert: np.ndarray
    ) -> None:
        for model in self.models:
            sampling = self._single(model)
            self._add_dsc(
                case, self._key("ablation", "DSC", sampling), predictions[sampling].labels, expert
            )

    def _measure_uncertainty(
        self, case: str, predictions: CasePredictions, expert: np.ndarray
    ) -> None:
        posterior = predictions.posterior(self.main_sampling)
        distance = boundary_distance(posterior.labels)
        scores = {"predictive SD": posterior.predictive_sd}
        if posterior.sample_sd is not None:
            scores = {"sample SD": posterior.sample_sd, **scores}
        scores |= {} if distance is None else {"distance to the boundary": -distance}
        if self.baseline:
            other = predictions.posterior(self._single(self.baseline))
            other_probability = other.probability
            other_entropy = entropy(other_probability)
            scores[f"entropy of {self.baseline.label}"] = other_entropy
        self._auroc(case, self.main_sampling, posterior.labels, expert, distance, scores)
        if posterior.unlike is not None:
            self.unlike.append(case)
        if posterior.unlike is None or len(self.unlike) == len(self.cases):
            self.not_calibrated = posterior.not_calibrated
        name, labels = self.model.label, posterior.labels
        self._reliability(case, (name, ""), labels, posterior.probability, expert)
        calibrated = posterior.calibrated_probability
        if calibrated is not None:
            source = (name, "samples alone")
            self._reliability(case, source, labels, posterior.mean_probability, expert)
            source = (name, "samples alone, calibrated")
            self._reliability(case, source, labels, calibrated, expert)
        if posterior.n > 1:
            self._measure_volumes(case, posterior, expert)
        if self.baseline:
            scores = {"entropy, own errors": other_entropy}
            sampling, distance = self._single(self.baseline), boundary_distance(other.labels)
            self._auroc(case, sampling, other.labels, expert, distance, scores)
            source = (self.baseline.label, "")
            self._reliability(case, source, other.labels, other_probability, expert)

    def _auroc(
        self,
        case: str,
        sampling: Sampling,
        labels: np.ndarray,
        expert: np.ndarray,
        distance: np.ndarray | None,
        scores: dict[str, np.ndarray],
    ) -> None:
        band = distance <= BAND if distance is not None else np.zeros(labels.shape, bool)
        error = (labels != expert)[band]
        for name, score in scores.items():
            key = self._key("uncertainty", "AUROC", sampling, detail=name)
            self.observations.add(case, key, error_auroc(score[band], error))

    def _reliability(
        self,
        case: str,
        source: tuple[str, str],
        labels: np.ndarray,
        probability: np.ndarray,
        expert: np.ndarray,
    ) -> None:
        band = near_boundary(labels)
        if band.any():
            sums = reliability_sums(probability[:, band], expert[band])
            self.reliability.setdefault(source, {})[case] = sums

    def _measure_volumes(self, case: str, posterior: Posterior, expert: np.ndarray) -> None:
        counts = posterior.voxel_counts()[:, 1:]
        intervals = {RANGE: np.stack([counts.min(0), counts.max(0)], axis=1)}
        calibrated = posterior.volume_intervals()
        if calibrated is not None and posterior.intervals_not_calibrated is None:
            intervals[CALIBRATED] = calibrated
        truth = np.bincount(expert.ravel(), minlength=len(self.classes))[1:]
        for detail, ends in intervals.items():
            key = self._key("uncertainty", "coverage", self.main_sampling, detail=detail)
            inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
            for name, value in zip(self.classes[1:], inside, strict=True):
                self.observations.add(case, key._replace(class_name=name), value)

    def _measure_readers(
        self, case: str, predictions: CasePredictions, readers: list[np.ndarray]
    ) -> None:
        samples = sample_labels(predictions.posterior(self.main_sampling))
        classes = len(self.classes)
        for metric, measure in (("GED^2", energy_distance), ("matched IoU", matched_iou)):
            self.observations.add(case, self.reader_key(metric), measure(samples, readers, classes))
        found = self.alternatives[case] = find_alternatives(samples, classes)
        metrics = alternative_metrics(found, samples, readers, classes)
        for (metric, detail), value in metrics.items():
            self.observations.add(case, self.reader_key(metric, detail), value)

    def _store_panels(
        self, case: str, predictions: CasePredictions, expert: np.ndarray, readers: list[np.ndarray]
    ) -> None:
        """Store one slice of everything that the plots need."""
        samplings = self.samplings()
        label = predictions[samplings[0]].labels
        self.dsc[case] = mean_dsc(label, expert, len(self.classes))
        index = representative_slice(expert, label)

        def cut(array: np.ndarray) -> np.ndarray:
            """Return the slice of an array whose last axes are the image's."""
            return array if index is None else array[..., index, :, :]

        panels = {
            "image": display_slice(predictions.scan, index),
            "aspect": np.array(pixel_aspect(predictions.scan)),
            "index": np.array(-1 if index is None else index),
            "expert": cut(expert),
            "label": cut(label),
        }
        if self.baseline:
            panels["baseline"] = cut(predictions[self._single(self.baseline)].labels)
        if self.main_sampling in samplings:
            posterior = predictions.posterior(self.main_sampling)
            panels["mean"] = cut(posterior.probability).astype(np.float16)
            panels["predictive_sd"] = cut(posterior.predictive_sd)
            if posterior.sample_sd is not None:
                panels["sample_sd"] = cut(posterior.sample_sd)
            if case in self.alternatives:
                panels["readers"] = np.stack([cut(r) for r in readers])
                samples = np.stack([cut(s) for s in sample_labels(posterior)])
                panels |= self._alternative_panels(case, samples)
        if "noise" in self.settings.parts:
            levels = self.settings.noise
            noisy = [self._noisy_slice(predictions.scan, sd, index) for sd in levels]
            panels["noise_image"] = np.stack(noisy)
            for number, model in enumerate(self._with_baseline):
                labels = [cut(predictions[self._noisy(model, sd)].labels) for sd in levels]
                panels[f"noise_label_{number}"] = np.stack(labels)
        self.gallery.put(case, panels)

    def _alternative_panels(self, case: str, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Return the first alternatives, their numbers of samples, and the single samples."""
        found = self.alternatives[case]
        single = set(range(len(samples))).difference(*(one.members for one in found))
        first = found[:MAX_ALTERNATIVES]
        return {
            "alternatives": samples[[one.medoid for one in first]],
            "alternative_counts": np.array([len(one.members) for one in first]),
            "alternative_similar": np.array([one.similar for one in first]),
            "single": samples[sorted(single)],
            "n": np.array(len(samples)),
        }

    def _noisy_slice(self, scan: Scan, sd: float, index: int | None) -> np.ndarray:
        return display_slice(add_noise(scan, sd, self.settings.seed) if sd else scan, index)
