"""The schemas of the project's JSON files, validated and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..utils.text import nfc

Name = Annotated[str, AfterValidator(nfc), Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=1, le=2**31)]
Count = Annotated[int, Field(ge=0)]
Real = Annotated[float, Field(allow_inf_nan=False)]
MAX_CLASSES, MAX_VALUE = 1000, 2**16 - 1
Row = tuple[Real, Real, Real, Real]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageReference(_Part):
    """Where a case's image is: relative to the project folder, and where it was last seen.

    Parameters
    ----------
    path
        Relative to the project folder with forward slashes; None where that is impossible.
    last_seen
        The absolute path, tried second; None for a copy in the project.
    sha256
        Of the file's bytes, or of all files of the image (``scans.files.image_hash``).
    """

    name: Name
    path: Annotated[str, Field(max_length=4096)] | None
    last_seen: Annotated[str, Field(max_length=4096)] | None = None
    sha256: Sha256


class Geometry(_Part):
    """The grid of the label and the masks.

    ``shape`` and ``affine`` (to RAS+ mm) are those of the edited array; with ``from_file`` its axes are the
    display axes of the image file, otherwise a layer's. ``flat`` is as in ``Scan``.
    """

    shape: Annotated[tuple[Size, ...], Field(min_length=2, max_length=8)]
    affine: tuple[Row, Row, Row, Row]
    calibrated: bool
    from_file: bool
    flat: bool = False


class SignOff(_Part):
    """Who is responsible for a label, since when, and whether it differs from the prediction."""

    who: Name
    when: Name
    verdict: Literal["accepted", "edited"]


class CaseRecord(_Part):
    """``case.json``: everything about a case except its voxels.

    Parameters
    ----------
    identity
        Of its own, so that its journal is not taken for another case's; None in records of earlier versions.
    patient
        Keeps the cases of one person in one part of the split.
    split
        Drawn once, when the patient's first case is added; all cases of the patient are in it.
    image
        None if the project has neither a reference nor a copy.
    values
        The names of the classes, background first; each is a class of the project.
    numbers
        Their label values, ascending from 0; None if they are 0, 1, 2, ...
    unnamed_value
        A reviewed label value that no class has: no model can be trained on it.
    runs
        Provenance of the runs that the label came from.
    """

    format_version: Literal[1] = 1
    identity: Annotated[str, Field(max_length=100)] | None = None
    patient: Name
    split: Literal["training", "validation"]
    image: ImageReference | None
    geometry: Geometry
    values: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_CLASSES)]
    numbers: tuple[Annotated[int, Field(ge=0, le=MAX_VALUE)], ...] | None = None
    labelled: bool = True
    edited_voxels: Count = 0
    reviewed_voxels: Count = 0
    unnamed_value: Count | None = None
    sign_off: SignOff | None = None
    earlier_sign_offs: tuple[SignOff, ...] = ()
    runs: Annotated[tuple[dict[str, Any], ...], Field(max_length=100)] = ()
    created: Name
    changed: Name

    @model_validator(mode="after")
    def _one_number_each(self) -> CaseRecord:
        if self.numbers is not None and (
            len(self.numbers) != len(self.values)
            or list(self.numbers) != sorted({0, *self.numbers})
        ):
            raise ValueError("every class needs a label value of its own, the first 0")
        return self

    @property
    def names(self) -> dict[int, str]:
        """The names of the classes by label value."""
        numbers = range(len(self.values)) if self.numbers is None else self.numbers
        return dict(zip(numbers, self.values, strict=True))

    @property
    def voxels(self) -> int:
        """Number of voxels of the grid."""
        count = 1
        for size in self.geometry.shape:
            count *= size
        return count

    @property
    def state(self) -> str:
        """The state as text for the list of cases."""
        if self.sign_off is not None:
            return "signed off"
        if self.reviewed_voxels >= self.voxels:
            return "reviewed"
        if self.reviewed_voxels:
            percent = max(1, 100 * self.reviewed_voxels // self.voxels)
            return f"{'edited, ' if self.edited_voxels else ''}{percent} % reviewed"
        if self.edited_voxels:
            return "edited"
        return "unreviewed" if self.labelled else "no label"


def values_of(classes: Mapping[int, ClassInfo]) -> dict[str, Any]:
    """Return the fields ``values`` and ``numbers`` of a record for the classes by label value.

    Raises
    ------
    LDSegError
        If there are more classes, or larger values, than a project can hold.
    """
    numbers = sorted({0, *classes})
    if numbers[-1] > MAX_VALUE:
        raise LDSegError(
            f"{classes[numbers[-1]].name} has the label value {numbers[-1]}, but a project holds values up to "
            f"{MAX_VALUE}; remove it under Edit classes in the Correct tab and give its voxels to another class."
        )
    if len(numbers) > MAX_CLASSES:
        raise LDSegError(
            f"The label has {len(numbers)} classes, but a project holds up to {MAX_CLASSES}; remove some "
            "under Edit classes in the Correct tab."
        )
    names = tuple(classes[n].name if n in classes else "background" for n in numbers)
    dense = numbers == list(range(len(numbers)))
    return {"values": names, "numbers": None if dense else tuple(numbers)}


class ProjectRecord(_Part):
    """``project.json``: the classes, whose names the cases use."""

    format_version: Literal[1] = 1
    name: Name
    classes: Annotated[tuple[ClassInfo, ...], Field(max_length=MAX_CLASSES)] = ()
    created: Name
