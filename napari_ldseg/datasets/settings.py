"""The ``data:`` part of a training configuration: where the cases are and how they are split."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | Path) else value


class DataSettings(BaseModel):
    """Images with labels in a folder.

    Parameters
    ----------
    folder
        The folder of the data set.
    layout
        ``folder``: images and labels of the same name in two subfolders. ``decathlon``: a
        dataset.json with a list ``training`` of image and label. ``nnunet``: imagesTr/CASE_0000.*,
        one file per channel, and labelsTr/CASE.*. ``auto`` detects the layout.
    images, labels
        Subfolders of the layout ``folder``; several label folders are several readers of the same
        images.
    patient
        A regular expression whose first group, found in a case's name, is the patient: cases of one
        patient stay in one part of the split. Without it every case is another patient.
    instances
        The labels are numbered objects: every value above 0 is class 1.
    unlabelled
        Folders of further images without labels, for networks that learn from images alone first.
    validation, test
        Fractions of the patients that are held out: to measure the step counts and the calibration on, and to
        measure the metrics on.
    split
        The file that holds the split; drawn with ``seed`` and written if it does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    layout: Literal["auto", "folder", "decathlon", "nnunet"] = "auto"
    images: str = "images"
    labels: Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)] = ("labels",)
    patient: str | None = None
    instances: bool = False
    unlabelled: Annotated[tuple[Path, ...], BeforeValidator(_several)] = ()
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test: Annotated[float, Field(ge=0, lt=1)] = 0.0
    split: Path | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("patient")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
            if groups < 1:
                raise ValueError(f"{pattern!r} needs a group in round brackets around the patient")
        return pattern

    def beside(self, folder: Path) -> DataSettings:
        """Return the settings with paths relative to ``folder``, and ~ and $VARIABLES expanded."""

        def place(path: Path) -> Path:
            return folder / os.path.expandvars(path.expanduser())

        split = None if self.split is None else place(self.split)
        places = {"folder": place(self.folder), "unlabelled": tuple(map(place, self.unlabelled))}
        return self.model_copy(update=places | {"split": split})
