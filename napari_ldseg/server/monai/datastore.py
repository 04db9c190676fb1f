"""MONAI Label's datastores: a folder that loses nothing, and a PACS that gets DICOM Segmentations."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.dicom import dicom_web_upload_dcm

from ...checkpoint.metadata import ClassInfo
from ...errors import LDSegError
from ...export.formats import export_labels
from ...export.result import Result
from ...utils.colours import class_colour
from ..request import label_meanings
from ..segmentation import check_on_grid, labels_on, read_request_image

KEPT = "The server keeps the images of its folder; to remove {name}, delete its file there, with its labels."
UID = re.compile(r"[0-9]+(\.[0-9]+)+")
FINAL = "final"


class Folder(LocalDatastore):
    """MONAI Label's folder of images; its images stay as they are, and labels must be on their grid.

    Several servers can have the same one: what is written begins with what the others have written.
    """

    def __init__(self, path: str, **options: Any):
        Path(path).mkdir(parents=True, exist_ok=True)
        # Taken around MONAI Label's own lock, which each writing takes anew without reading first.
        self._alone = FileLock(Path(path) / ".lock-servers")
        super().__init__(path, **options)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Add an image under a new name. Raises LDSegError if there is one of that name."""
        name = image_id or self._to_id(Path(image_filename).name)[0]
        with self._current():
            if name in self._datastore.objects:
                raise LDSegError(
                    f"There is already an image {name}; give the new one another name."
                )
            return super().add_image(image_id, image_filename, image_info)

    def remove_image(self, image_id: str) -> None:
        """Raise LDSegError: who may send requests may not delete scans."""
        raise LDSegError(KEPT.format(name=image_id))

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Keep a label that is on the image's grid. Raises LDSegError if it is not."""
        path = self.get_image_uri(image_id)
        if path:
            check_on_grid(Path(path), Path(label_filename))
        with self._current():
            return super().save_label(image_id, label_filename, label_tag, label_info)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Delete a label."""
        with self._current():
            super().remove_label(label_id, label_tag)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is stored with an image."""
        with self._current():
            super().update_image_info(image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is stored with a label."""
        with self._current():
            super().update_label_info(label_id, label_tag, info)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Let no other server write, and know what they have written."""
        with self._alone:
            self._init_from_datastore_file()
            yield

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        with self._alone:  # nor may the thread that watches the folder read in the middle
            super()._init_from_datastore_file(throw_exception)

    def _reconcile_datastore(self) -> None:
        with self._alone:
            super()._reconcile_datastore()


class Pacs(DICOMWebDatastore):
    """MONAI Label's DICOMweb datastore, but Segmentations are made by ``export.dicom``, without other programs.

    ``known_classes`` returns the classes of all models by name, for the codes and colours of segments.
    """

    known_classes: Callable[[], Mapping[str, ClassInfo]] = staticmethod(dict)  # type: ignore[assignment]

    def series_folder(self, image_id: str) -> Path:
        """Return the folder with the series' files, fetched if they are not there. Raises LDSegError."""
        if not UID.fullmatch(image_id):
            raise LDSegError(f"{image_id} is no series of the PACS.")
        try:
            self.get_image_uri(image_id)
        except (IndexError, KeyError, OSError, RuntimeError) as error:
            raise LDSegError(f"The series {image_id} could not be fetched: {error}.") from error
        return Path(self._datastore.image_path()) / image_id

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        label_id: str = "",
    ) -> str:
        """Keep a label; a final one also goes to the PACS. Raises LDSegError."""
        scan = read_request_image(self.series_folder(image_id), 1)
        labels = labels_on(scan, Path(label_filename)).astype(np.uint8)
        info = label_info.get("label_info")
        classes = self._classes(labels, info)
        summary = {"provenance": {"checkpoint": _model_of(info)}} if _model_of(info) else {}
        result = Result(scan, labels, classes, summary, edited=True)
        with tempfile.TemporaryDirectory() as folder:
            kept = export_labels(Path(folder) / f"{image_id}.nii.gz", result, "nifti")
            if label_tag == FINAL:
                sent = export_labels(Path(folder) / "labels.dcm", result, "dicom-seg")
                label_info["SeriesInstanceUID"] = dicom_web_upload_dcm(str(sent), self._client)
            return LocalDatastore.save_label(self, image_id, str(kept), label_tag, label_info)

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Return the images and final labels that were submitted through this server."""
        return LocalDatastore.datalist(self, full_path)

    def _classes(self, labels: np.ndarray, info: Any) -> dict[int, ClassInfo]:
        """Return a class for each value in ``labels``: named by the client, with a model's code and colour."""
        names = [
            str(item["name"]) for item in info or () if isinstance(item, dict) and "name" in item
        ]
        values = label_meanings(info, ["", *names]) or {}
        known = self.known_classes()
        classes = {}
        for value in np.unique(labels[labels > 0]).tolist():
            number = values.get(value, 0)
            name = names[number - 1] if number else f"Label {value}"
            classes[value] = known.get(name) or ClassInfo(name=name, colour=class_colour(value))
        return classes


def _model_of(info: Any) -> str:
    first = info[0] if isinstance(info, list) and info else {}
    return str(first.get("model_name", "")) if isinstance(first, dict) else ""
