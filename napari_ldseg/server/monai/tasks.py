"""The tasks that MONAI Label's clients see: a model to segment with, to train, and which case is next."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from ...errors import LDSegError
from ...export.formats import export_labels
from ...scans.files import stem_of
from ...utils.atomic import atomic_write
from ..catalogue import Model, named
from ..loaded import LoadedModel, evicted_when_out_of_memory
from ..next_case import next_case
from ..request import DEFAULT_SAMPLES, label_meanings, parse_request
from ..segmentation import answer, read_request_image, write_reply
from ..training import PACES, FinalLabel, check_training, take_in, train
from .datastore import FINAL

POINTS = "-points"  # the ending of a model's second name
logger = logging.getLogger(__name__)


class Segment(InferTask):
    """A checkpoint. With ``points``, as the kind of model for which viewers let the user set points."""

    def __init__(self, model: Model, loaded: LoadedModel, device: str, points: bool):
        labels = {"background": 0, **model.labels} if points else model.labels
        super().__init__(
            type="deepedit" if points else "segmentation",
            labels=labels,
            dimension=model.metadata.architecture.dims,
            description=model.metadata.description,
            config={"samples": DEFAULT_SAMPLES, "steps": 0, "seed": 0},
        )
        self.model, self._loaded, self._device = model, loaded, device

    def is_valid(self) -> bool:
        """Return whether the model can be used."""
        return True

    def run(
        self, image: Path, params: dict[str, Any], folder: Path, label: Path | None = None
    ) -> tuple[dict[str, Path], dict[str, Any]]:
        """Segment the file ``image``; return the files written to ``folder``, and the reply's parameters.

        For a DICOM image and ``dicom_seg`` in ``params``, there is a DICOM Segmentation among the files. Raises
        LDSegError.
        """
        request = parse_request(params, [info.name for info in self.model.metadata.classes])
        clock = [time.monotonic()]
        with evicted_when_out_of_memory(self._loaded, image.name):
            checkpoint = self._loaded.get(self.model.path)
            scan = read_request_image(image, self.model.metadata.architecture.image_channels)
            clock.append(time.monotonic())
            reply = answer(checkpoint, scan, request, label, self._device)
            clock.append(time.monotonic())
            files = write_reply(reply, folder, request)
            if params.get("dicom_seg"):
                files["dicom_seg"] = folder / "labels.dcm"
                export_labels(files["dicom_seg"], reply.result, "dicom-seg")
        clock.append(time.monotonic())
        seconds = [round(b - a, 4) for a, b in pairwise(clock)]
        latencies = dict(zip(("read", "infer", "write"), seconds, strict=True))
        return files, {**reply.params, "model": self.model.name, "latencies": latencies}

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment ``request["image"]``, as MONAI Label calls its tasks."""
        files, params = self.run(Path(request["image"]), request, Path(tempfile.mkdtemp()))
        return str(files["labels"]), params


class ExpectedError(Strategy):
    """The unlabelled image with the highest expected error; examines some with each request.

    Parameters
    ----------
    models
        Returns the models by name; the request's ``model`` is one.
    examine
        Returns the expected error of an image of the datastore with a model.
    usual
        Returns the name of the model for a request that names none, given an image of the datastore.
    """

    def __init__(
        self,
        models: Callable[[], dict[str, Model]],
        examine: Callable[[str, Model], float],
        usual: Callable[[str], str],
    ):
        super().__init__("The image with the highest expected error")
        self._models, self._examine, self._usual = models, examine, usual

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """Return the next image's ``id`` and expected error; None if all are labelled."""
        unlabelled = datastore.get_unlabeled_images()
        if not unlabelled:
            return None
        models = self._models()
        name = str(request.get("model") or self._usual(min(unlabelled))).removesuffix(POINTS)
        model = named(models, name)
        found = {image: known_error(datastore, image, model) for image in unlabelled}
        known = {image: error for image, error in found.items() if error is not None}
        chosen = next_case(unlabelled, known, lambda image: self._examine(image, model))
        if chosen is None:
            return None
        return {
            "id": chosen.name,
            "expected_error": chosen.expected_error,
            "known": chosen.known,
            "unlabelled": chosen.unlabelled,
            "model": name,
        }


def known_error(datastore: Any, image: str, model: Model) -> float | None:
    """Return the expected error that ``remember_error`` stored for this very model; None if there is none."""
    stored = datastore.get_image_info(image).get("ldseg", {})
    return stored.get("expected_error") if stored.get("model") == _stamp(model) else None


def remember_error(datastore: Any, image: str, model: Model, error: float) -> None:
    """Store an image's expected error with it in the datastore."""
    stored = {"model": _stamp(model), "expected_error": error}
    datastore.update_image_info(image, {"ldseg": stored})


def _stamp(model: Model) -> list[str | int]:
    """Return what tells this very model's file from another one of its name."""
    stat = model.path.stat()
    return [model.name, stat.st_mtime_ns, stat.st_size]


class FineTune(TrainTask):
    """Fine-tuning of a model on the final labels. What came of it, or why it failed, is written to ``result``."""

    def __init__(self, model: Model, project: Path, device: str, result: Path):
        super().__init__(f"Fine-tune {model.name} on the final labels")
        self._model, self._project, self._device, self._result = model, project, device, result

    def config(self) -> dict[str, Any]:
        """Return the settings that clients show: ``adopt`` is the name of a trained model to use from now on."""
        return {"pace": list(PACES), "updates": 0, "adopt": ""}

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Train; return what came of it. Raises LDSegError."""
        try:
            found = self._train(request, datastore)
        except LDSegError as error:
            self._write({"error": str(error)})
            raise
        self._write(found)
        return found

    def _write(self, found: dict[str, Any]) -> None:
        with atomic_write(self._result, ".json") as file:
            file.write_text(json.dumps(found), encoding="utf-8")

    def _train(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        classes = [info.name for info in self._model.metadata.classes]
        labels = []
        for entry in datastore.datalist():
            image = Path(entry["image"])
            name = stem_of(image)
            info = datastore.get_label_info(name, FINAL) or {}
            info = info.get("label_info") or info.get("params", {}).get("label_info")
            meanings = label_meanings(info, classes)
            labels.append(FinalLabel(name, image, Path(entry["label"]), meanings))
        taken = take_in(self._project, labels, self._model.path)
        for problem in taken.problems:
            logger.warning(problem)
        pace, updates = check_training(request)
        return train(
            self._project,
            self._model.path,
            taken.cases,
            pace=pace,
            updates=updates,
            device=self._device,
            report=logger.info,
        ) | {"left_out": taken.problems, "corrected_since": taken.corrected}
