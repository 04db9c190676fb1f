"""The app that MONAI Label runs: its models, strategies and trainers, and what makes its server safe."""

from __future__ import annotations

import gc
import json
import logging
import signal
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.tasks.activelearning.random import Random
from monailabel.utils.async_tasks.task import AsyncTask

from ...checkpoint.file import load_checkpoint
from ...checkpoint.metadata import ClassInfo
from ...errors import LDSegError
from ...finetuning.ranking import SAMPLES, case_error
from ...inference.domain import look_at
from ..access import Access
from ..catalogue import Catalogue, Model, named
from ..guard import leaves_folder
from ..jobs import WAITING, Busy, JobQueue
from ..loaded import LoadedModel
from ..segmentation import read_request_image
from ..training import adopt, check_training
from ..uploads import MAX_UPLOAD_BYTES, keep_temporary_files_in
from .datastore import Folder, Pacs
from .endpoints import install
from .sessions import remove_expired
from .tasks import POINTS, ExpectedError, FineTune, Segment, remember_error

logger = logging.getLogger(__name__)


class LDSegApp(MONAILabelApp):
    """LDSeg as an app of MONAI Label.

    Its ``--conf`` settings: ``models`` (folders with checkpoints, separated by commas), ``bundled`` (true or false),
    ``project`` (the folder of what is trained here), ``device``, ``password_file``, ``max_upload_mib``, ``waiting``
    (how many requests may wait), ``points`` (whether models are also listed as ones that take points).
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]):
        conf = conf or {}
        folders = [Path(name) for name in conf.get("models", "").split(",") if name]
        self.project = Path(conf.get("project") or Path(app_dir) / "model" / "project")
        self.catalogue = Catalogue(folders, self.project, conf.get("bundled", "true") != "false")
        self.loaded, self.jobs = LoadedModel(), JobQueue(int(conf.get("waiting", WAITING)))
        self.most_bytes = int(float(conf.get("max_upload_mib", 0)) * 2**20) or MAX_UPLOAD_BYTES
        self.device, self._points = conf.get("device", "auto"), conf.get("points") != "false"
        self._last_used, self.training_result = "", Path(app_dir) / "training-result.json"
        password = conf.get("password_file")
        self.access = Access(
            Path(password).read_text(encoding="utf-8").strip() if password else None,
            settings.MONAI_LABEL_AUTH_ENABLE,
            tuple(str(site).rstrip("/") for site in settings.MONAI_LABEL_CORS_ORIGINS),
        )
        super().__init__(
            app_dir,
            studies,
            conf,
            name="LDSeg",
            description="Segmentation by latent diffusion, with uncertainty. For research only.",
        )

    def init_infers(self) -> dict[str, Segment]:
        """Return a task for each model, and one more for points."""
        tasks: dict[str, Segment] = {}
        for name, model in self.catalogue.models().items():
            tasks[name] = Segment(model, self.loaded, self.device, points=False)
            if self._points:
                tasks[name + POINTS] = Segment(model, self.loaded, self.device, points=True)
        return tasks

    def init_trainers(self) -> dict[str, FineTune]:
        """Return a trainer for each model."""
        models = self.catalogue.models().items()
        result = self.training_result
        return {name: FineTune(model, self.project, self.device, result) for name, model in models}

    def init_strategies(self) -> dict[str, Any]:
        """Return the strategies; the first one is what clients propose."""
        return {
            "expected_error": ExpectedError(
                self.catalogue.models, self._examine, self._usual_model
            ),
            "random": Random(),
        }

    def init_datastore(self) -> Any:
        """Return the folder of the images, or what stands for a PACS."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return Folder(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def _init_dicomweb_datastore(self) -> Pacs:
        made = super()._init_dicomweb_datastore()
        made.__class__ = Pacs  # MONAI Label names its class in the method that reads all settings
        made.known_classes = self._known_classes
        return made

    def _download_dcmqi_tools(self) -> None:
        """Download nothing: ``export.dicom`` writes the Segmentations."""

    def info(self) -> dict[str, Any]:
        """Return what clients show, with the models that there are now."""
        self._infers, self._trainers = self.init_infers(), self.init_trainers()
        return super().info()

    def segment(
        self,
        model: str,
        image: Path,
        params: dict[str, Any],
        folder: Path,
        label: Path | None = None,
        image_id: str = "",
    ) -> tuple[dict[str, Path], dict[str, Any]]:
        """Segment a file with a model; see ``Segment.run``. One of the datastore has an ``image_id``.

        Raises
        ------
        LDSegError
            If there is no such model, or as ``Segment.run``.
        """
        task = self._infers.get(model) or named(self.init_infers(), model)
        files, answered = task.run(image, params, folder, label)
        self._last_used = task.model.name
        usual = task.model.metadata.steps_for(answered["samples"])
        plain = label is None and "conditioned" not in answered
        plain &= answered["provenance"]["steps"] == usual
        if image_id and plain and answered["samples"] >= SAMPLES:
            remember_error(self.datastore(), image_id, task.model, answered["expected_error"])
        if image_id and params.get("save_label"):
            tag = params.get("label_tag") or "original"
            tag = str(getattr(tag, "value", tag))  # a batch has MONAI Label's own kind
            if leaves_folder(tag):
                raise LDSegError(f"The tag {tag} must be a plain name.")
            info = {"model": model, "params": answered}
            answered["label_id"] = self.datastore().save_label(
                image_id, str(files["labels"]), tag, info
            )
        return files, answered

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Segment an image of the datastore and keep its label, as a batch of MONAI Label asks for."""
        image = str(request.get("image", ""))
        with tempfile.TemporaryDirectory() as folder:
            path = self.image_path(image)
            _, params = self.segment(
                str(request.get("model")), path, request, Path(folder), image_id=image
            )
        return {"label": params.get("label_id"), "tag": "original", "file": None, "params": params}

    def begin_training(self, model: str, params: dict[str, Any]) -> dict[str, Any]:
        """Begin to train a model in a process of its own, or adopt a trained one at once.

        Raises
        ------
        LDSegError
            If there is no such model, a setting is invalid, or a training runs.
        """
        named(self.catalogue.models(), model)
        if params.get("adopt"):
            return adopt(self.project, str(params["adopt"]))
        check_training(params)
        if AsyncTask.status("train", check_if_running=True)[0]:
            raise Busy("A training is running; wait for its end, or stop it.")
        self.training_result.unlink(missing_ok=True)
        return AsyncTask.run("train", request={"model": model}, params=params)[0]

    def training_status(self, running: bool = False) -> Any:
        """Return MONAI Label's record of the last training; at its end with what came of it as ``result``."""
        found, detail = AsyncTask.status("train", check_if_running=running)
        if found is None:
            raise MONAILabelException(MONAILabelError.APP_ERROR, detail)
        if isinstance(found, dict) and self.training_result.is_file():
            return {**found, "result": json.loads(self.training_result.read_text(encoding="utf-8"))}
        return found

    def batch_infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Segment many images of the datastore with the server's device."""
        return super().batch_infer({**request, "multi_gpu": False}, datastore)

    def cleanup_sessions(self) -> None:
        """Delete the sessions that have expired, and what is left of broken ones."""
        sessions = self.sessions()
        if sessions is not None:
            remove_expired(sessions)

    def models(self) -> dict[str, Model]:
        """Return the models that there are now."""
        return self.catalogue.models()

    def keep(self, file: Path) -> str:
        """Keep a copy of ``file`` as a session of MONAI Label; return its id. Raises LDSegError if these are off."""
        sessions = self.sessions()
        if sessions is None:
            raise LDSegError("The server keeps no images (MONAI_LABEL_SESSIONS is off).")
        return sessions.add_session(str(file), 0, session_id=str(uuid.uuid4()))[0]

    def kept(self, session: str) -> Path | None:
        """Return the file of a session; None if it is not there (any more)."""
        sessions = self.sessions()
        found = sessions.get_session(session) if sessions is not None else None
        return None if found is None else Path(found.image)

    def drop(self, session: str) -> None:
        """Delete a session."""
        sessions = self.sessions()
        if sessions is not None:
            sessions.remove_session(session)

    def image_path(self, image_id: str) -> Path:
        """Return the file or folder of an image of the datastore. Raises LDSegError if there is none."""
        datastore = self.datastore()
        if isinstance(datastore, Pacs):
            return datastore.series_folder(image_id)
        path = "" if leaves_folder(image_id) else datastore.get_image_uri(image_id)
        if not path:
            raise LDSegError(f"There is no image {image_id} in the datastore.")
        return Path(path)

    def on_init_complete(self) -> None:
        """Take MONAI Label's slow endpoints over, guard all of them, and stop at once when the server is to."""
        keep_temporary_files_in(Path(self.app_dir) / "tmp")
        super().on_init_complete()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._cancel_on(number)
        install(self)
        gc.collect()
        gc.freeze()  # else each eviction of a model looks through 700 thousand objects that stay, for 0.3 s

    def _examine(self, image_id: str, model: Model) -> float:
        checkpoint = self.loaded.get(model.path)
        scan = read_request_image(
            self.image_path(image_id), model.metadata.architecture.image_channels
        )
        error = case_error(checkpoint, scan, self.device)
        remember_error(self.datastore(), image_id, model, error)
        return error

    def _cancel_on(self, number: int) -> None:
        """Cancel what runs and waits at a signal, for which the server would wait otherwise."""
        before = signal.getsignal(number)

        def stop(number: int, frame: Any) -> None:
            self.jobs.cancel_all()
            if callable(before):
                before(number, frame)

        signal.signal(number, stop)

    def _usual_model(self, image_id: str) -> str:
        """Return the model that was used last, else the one whose training images are nearest to an image."""
        models = self.catalogue.models()
        if self._last_used not in models:
            self._last_used = self._nearest_model(models, self.image_path(image_id))
        return self._last_used

    def _nearest_model(self, models: dict[str, Model], path: Path) -> str:
        distances = {}
        for name, model in models.items():
            with suppress(LDSegError):
                scan = read_request_image(path, model.metadata.architecture.image_channels)
                found = look_at(load_checkpoint(model.path), scan)
                if found is not None:
                    distances[name] = (found.unlike is not None, found.distance)
        return min(distances or models, key=lambda name: distances.get(name, (True, 0.0)))

    def _known_classes(self) -> dict[str, ClassInfo]:
        models = self.catalogue.models().values()
        return {info.name: info for model in models for info in model.metadata.classes[1:]}
