"""The dataset.json of an nnU-Net (version 1 or 2) or Medical Segmentation Decathlon data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from ..errors import LDSegError
from ..utils.inside import inside
from ..utils.records import read_record
from ..utils.text import nfc

MAX_BYTES = 2**25
MAX_VALUE = 2**16 - 1
MAX_CLASSES = 256
UNLABELLED = ("ignore", "void")  # the names of what nobody labelled


class Pair(BaseModel):
    """An image and its label: paths relative to the data set, with the separators of any system."""

    image: str
    label: str


class Description(BaseModel):
    """The parts of a dataset.json that matter here; other keys are ignored.

    ``labels`` are names to values or values to names. Values may have gaps; they become the classes
    0, 1, 2, ... in ascending order. What has the value of the label "ignore" or "void" was
    labelled by nobody.
    """

    labels: Any = None
    training: list[Pair] | None = None
    modality: Any = None
    file: Path = Field(default=Path("dataset.json"), exclude=True)

    @property
    def several_modalities(self) -> bool:
        """Whether the last axis of each image holds modalities rather than time."""
        return isinstance(self.modality, dict | list) and len(self.modality) > 1

    @property
    def is_sparse(self) -> bool:
        """Whether label values are not the classes 0, 1, 2, ...; False where they are not described."""
        try:
            return sorted(self.values()) != list(range(len(self.classes())))
        except LDSegError:  # then the configuration alone says what the values are
            return False

    def path(self, relative: str) -> Path:
        """Return the file that an entry names. Raises LDSegError if it is missing or outside."""
        path = inside(self.file.parent, relative.replace("\\", "/")).resolve()
        if not path.is_file():
            raise LDSegError(
                f"dataset.json names {relative}, which does not exist in {self.file.parent}."
            )
        return path

    def values(self) -> dict[int, str]:
        """Return the names by label value, "ignore" and "void" included. Raises LDSegError."""
        try:
            pairs = [self._pair(str(key), value) for key, value in self.labels.items()]
        except (AttributeError, TypeError, ValueError) as error:
            raise LDSegError(
                f"{self.file} must give each class a label value from 0 to {MAX_VALUE}."
            ) from error
        values, names = dict(pairs), {name for _, name in pairs}
        background = values.get(0, UNLABELLED[0])
        repeated = len(values) != len(pairs) or len(names) != len(pairs)
        if repeated or background.casefold() in UNLABELLED:
            raise LDSegError(
                f"{self.file} must name the background 0 and every other class, each once."
            )
        if len(values) > MAX_CLASSES:
            raise LDSegError(
                f"{self.file} names {len(values)} classes; at most {MAX_CLASSES} can be used."
            )
        return values

    def classes(self) -> dict[int, str]:
        """Return the names of the classes by label value, ascending. Raises LDSegError."""
        return {v: n for v, n in sorted(self.values().items()) if n.casefold() not in UNLABELLED}

    def ignored(self) -> list[int]:
        """Return the values of voxels that nobody labelled. Raises LDSegError."""
        return [value for value, name in self.values().items() if name.casefold() in UNLABELLED]

    def dense(self, label: np.ndarray, name: str) -> np.ndarray:
        """Return ``label`` with the classes 0, 1, 2, ..., and -1 where nobody labelled.

        Raises
        ------
        LDSegError
            If it holds a value that is not described.
        """
        values, missing = np.array(list(self.classes())), self.unlabelled(label)
        unknown = ~np.isin(label, values) & ~missing
        if unknown.any():
            raise LDSegError(
                f"{name}: the label holds the value {label[unknown][0]}, but dataset.json names the classes "
                f"{', '.join(map(str, values))}."
            )
        return np.where(missing, -1, np.searchsorted(values, label)).astype(np.int16)

    def unlabelled(self, label: np.ndarray) -> np.ndarray:
        """Return which voxels of ``label`` nobody labelled: those of "ignore" or "void" and negative ones
        (bool).
        """
        return (label < 0) | np.isin(label, self.ignored())

    def _pair(self, key: str, value: Any) -> tuple[int, str]:
        if isinstance(value, list):
            if len(value) != 1:
                raise LDSegError(
                    f"{self.file} describes the region {key} by several label values, which is not supported; "
                    "give every label value a class of its own."
                )
            value = value[0]
        if isinstance(value, float) and not value.is_integer():
            raise ValueError("not a label value")
        number, name = (int(key), str(value)) if key.isdigit() else (int(value), key)
        if not 0 <= number <= MAX_VALUE or not name.strip():
            raise ValueError("not a label value")
        return number, nfc(name.strip()[:100])


def read_description(folder: Path) -> Description:
    """Return the content of the dataset.json of ``folder``. Raises LDSegError."""
    path = folder / "dataset.json"
    if not path.is_file():
        raise LDSegError(
            f"{folder} holds no dataset.json; choose the folder of an nnU-Net or Decathlon data set."
        )
    description = read_record(path, Description, MAX_BYTES)
    return description.model_copy(update={"file": path})
