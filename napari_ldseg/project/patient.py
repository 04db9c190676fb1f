"""A guess which patient's image a case is, from its name and folder.

Two patients taken for one make a comparison smaller; one patient taken for two puts the same person into both
parts of the split, unnoticed. So in doubt the guess assigns images to one patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

MOST_FOLDERS = 3
NUMBERED_LAYER = re.compile(r" \[\d+\]$")  # napari numbers layers of the same name
# What an image is or shows, not whose it is: modality, view, side, phase, visit, date, kind of file.
TAG = re.compile(
    r"""(?<![^\W_])(?:
    t[0-3](?:i|c|ce|gd|map|flair|star)?w? | flair | adc | dwi | swi | pd | b\d{3,4}
    | cta? | mra? | mri | pet | us | bold | asl | mpr(?:age)? | cine | lge | echo
    | [1-4]d | [37]t | 1[.]5t | [2345]ch | a[2345]c | plax | psax | [lsm]ax
    | left | right | ax(?:ial)? | cor(?:onal)? | sag(?:ittal)?
    | ed | es | pre | post | (?:arterial|venous|portal|native|delayed)
    | baseline | bl | follow[\W_]?up | fu\d*
    | (?:visit|ses|session|time(?:point)?|tp|v|day|week|month|year|frame|fr|phase|run|acq|series|slice)[\W_]?\d+
    | (?:19|20)\d\d[\W_]?(?:0[1-9]|1[0-2])[\W_]?(?:0[1-9]|[12]\d|3[01])
    | images?(?:tr|ts)? | img | scans? | vol(?:ume)? | nii | nifti | dicom | dcm | anat | func | data
    )(?![^\W_])[\W_]*""",
    re.IGNORECASE | re.VERBOSE,
)
EXPLICIT = re.compile(
    r"(?<![^\W_])(?:(?:sub|subj|subject|pat|patient|pid|mrn)(?:[ _-]?\d|[ _-][a-z]*\d)|p\d{2})[^\W_]*",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"\D*\d[^\W_]*(?:-\d{3,})*")


def patient_of(name: str, path: Path | None = None) -> str:
    """Return the probable patient of a case called ``name`` and read from ``path``.

    ``P012_ED`` and ``P012_ES`` belong to P012, ``patient_3/T1.nii.gz`` to patient_3.
    """
    name = NUMBERED_LAYER.sub("", name)
    rest = _without_tags(name)
    explicit = EXPLICIT.search(rest)
    if explicit:
        return explicit.group()
    folder = _folder_of_patient(name, rest, path) if path is not None else ""
    return folder or _numbered(rest) or rest or _numbered(name) or name


def patients_of(names: Sequence[str], paths: Sequence[Path | None]) -> list[str]:
    """Return the patients of all cases of a data set, each as ``patient_of``.

    A number that all names begin with is the data set's; then the next one counts: BraTS20_Training_001.
    """
    patients = [patient_of(name, path) for name, path in zip(names, paths, strict=True)]
    if len(set(patients)) == 1 < len(patients) and not EXPLICIT.search(patients[0]):
        next_numbers = [_numbered(_without_tags(n.removeprefix(patients[0]))) for n in names]
        if all(next_numbers):
            return [f"{patients[0]} {number}" for number in next_numbers]
    return patients


def _folder_of_patient(name: str, rest: str, path: Path) -> str:
    """Return the patient according to the folder, or an empty text if the folder does not name one."""
    for folder in path.absolute().parents[:MOST_FOLDERS]:
        of_folder = _without_tags(folder.name)
        if not of_folder:
            if _numbered(rest):
                return ""  # images/case_012: the folder above is a data set
            continue
        explicit, numbered = EXPLICIT.search(of_folder), _numbered(of_folder)
        if explicit:
            return explicit.group()
        if numbered and re.match(re.escape(folder.name) + r"(?![^\W_])", name):
            return folder.name
        needs_number = bool(_numbered(rest))
        if not rest or ((numbered or not needs_number) and _has_namesake(folder, path)):
            return numbered or of_folder
        return ""
    return ""


def _has_namesake(folder: Path, path: Path) -> bool:
    """Return whether a folder beside ``folder`` holds a file of the same name at the same place."""
    place = path.absolute().relative_to(folder)
    try:
        return any(
            (other / place).is_file() for other in folder.parent.iterdir() if other != folder
        )
    except OSError:
        return False


def _without_tags(text: str) -> str:
    return TAG.sub("", text).strip(" ._-")


def _numbered(text: str) -> str:
    found = NUMBERED.match(text)
    return found.group() if found else ""
