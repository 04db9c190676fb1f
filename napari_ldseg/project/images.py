"""The images that a project's cases refer to: finding them again, reading, copying."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import LDSegError
from ..scans.channels import channels_as_frames, frames_as_channels
from ..scans.dicom.reader import stands_for
from ..scans.files import image_exists, image_hash, read_like, read_scan, suffix_of, write_like
from ..scans.nifti import NIFTI_SUFFIXES, load_nifti
from ..scans.scan import Scan
from .case import CaseFolder
from .schema import Geometry, ImageReference


class ImageMissing(LDSegError):
    """The image of a case is missing, or has changed."""


class Images:
    """The images of the cases in the project ``folder``."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, case: CaseFolder) -> Path:
        """Return where the case's image is.

        Raises
        ------
        ImageMissing
            If it is gone, or has changed since it was labelled.
        """
        reference = case.record().image
        if reference is None:
            raise ImageMissing(
                f"The project has no image for {case.name}; locate the file that it was labelled on."
            )
        tried = [self.folder / reference.path] if reference.path else []
        tried += [Path(reference.last_seen)] if reference.last_seen else []
        existing = [path for path in tried if image_exists(path)]
        for path in existing:
            if _hash(path) == reference.sha256:
                return path
        if existing:
            raise ImageMissing(
                f"{existing[0]} has changed since {case.name} was labelled; locate the original image."
            )
        raise ImageMissing(
            f"The image of {case.name} is no longer at {os.path.abspath(tried[0]) if tried else 'a known place'}; put "
            "it back or locate it."
        )

    def locate(self, case: CaseFolder, path: Path) -> None:
        """Refer to ``path`` from now on. Raises LDSegError if it is another image."""
        reference = case.record().image
        if reference is not None and _hash(path) != reference.sha256:
            raise LDSegError(
                f"{path.name} is not the image that {case.name} was labelled on: its content differs."
            )
        new = ImageReference(name=path.name, sha256=_hash(path), **self._places(path))
        try:
            case.change(image=new)
        except OSError as error:
            raise LDSegError(f"{case.folder} cannot be written: {error.strerror}.") from error

    def read(self, case: CaseFolder, path: Path | None = None) -> Scan:
        """Return the case's image with the geometry of its label; ``path`` if it is known.

        An axis of a NIfTI file that the label lacks is that of its channels. Raises LDSegError.
        """
        path, geometry = path or self.path(case), case.record().geometry
        if geometry.from_file:
            scan = read_scan(path)
            has_frames = len(scan.shape) > scan.space and not scan.channels
            if has_frames and scan.shape[1:] == geometry.shape:
                scan = frames_as_channels(scan)
            if geometry.calibrated and not scan.calibrated:  # the user gave the pixel size
                scan = replace(scan, affine=np.array(geometry.affine), calibrated=True)
        else:
            affine, calibrated = np.array(geometry.affine), geometry.calibrated
            if suffix_of(path) in NIFTI_SUFFIXES:  # write_like's copy of a layer
                array = _read_copy(path, geometry.shape, case.name)
                channels = array.ndim > len(geometry.shape)
            else:
                copy = read_scan(path)
                array, channels = copy.array, copy.channels
            scan = Scan(array, affine, channels, calibrated, flat=geometry.flat)
        if scan.shape != geometry.shape:
            raise LDSegError(
                f"{path.name} has the shape {scan.shape}, but the label of {case.name} has "
                f"{geometry.shape}; locate the image that it was labelled on."
            )
        return replace(scan, name=case.name)

    def refer(
        self, image: Scan, path: Path | None, building: Path, final: Path
    ) -> ImageReference | None:
        """Return the reference of a new case to its image; raises OSError.

        Without a ``path`` the image is copied into ``building``, the folder that becomes ``final``; None
        if it cannot be.
        """
        if path is not None:
            return ImageReference(name=path.name, sha256=_hash(path), **self._places(path))
        try:
            copy = _copy_image(image, building)
        except LDSegError:
            return None  # The label is worth saving without it.
        relative = (final / copy.name).relative_to(self.folder).as_posix()
        return ImageReference(name=copy.name, path=relative, sha256=_hash(copy))

    def _places(self, path: Path) -> dict[str, str | None]:
        path = path.resolve()
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise LDSegError(
                f"The name of {path} is not in UTF-8; rename it with plain letters."
            ) from error
        try:
            relative = Path(os.path.relpath(path, self.folder.resolve())).as_posix()
        except ValueError:  # another drive of Windows
            relative = None
        inside = path.is_relative_to(self.folder.resolve())
        return {"path": relative, "last_seen": None if inside else str(path)}


def refers_to_file(image: Scan, path: Path | None) -> bool:
    """Return whether ``image`` can be read from the file at ``path``, so that no copy is needed."""
    if path is None or not image_exists(path):
        return False
    if image.source is not None:
        return not image.source.files or stands_for(path, image.source.files)
    if suffix_of(path) in ("", *NIFTI_SUFFIXES):
        return False
    try:
        return np.array_equal(read_scan(path).array, np.asarray(image.array))
    except LDSegError:
        return False


def _hash(path: Path) -> str:
    try:
        return image_hash(path)
    except LDSegError as error:
        raise ImageMissing(str(error)) from error


def geometry_of(image: Scan) -> Geometry:
    """Return the grid of ``image`` for its case's record."""
    rows = tuple(tuple(float(v) for v in row) for row in image.affine)
    return Geometry(
        shape=image.shape,
        affine=rows,
        calibrated=image.calibrated,
        from_file=image.source is not None,
        flat=image.flat,
    )


def _copy_image(image: Scan, folder: Path) -> Path:
    """Write ``image`` into ``folder``: colours as PNG, channels as the last axis of a NIfTI file."""
    array = np.asarray(image.array)
    colour = image.channel_count == 3 and array.dtype in (np.uint8, np.uint16)
    if colour and len(image.shape) == 2 and image.source is None:
        from skimage.io import imsave

        imsave(folder / "image.png", array, check_contrast=False)
        return folder / "image.png"
    image = channels_as_frames(image) if image.channels else image
    return write_like(folder / "image.nii", np.asarray(image.array), image)


def _read_copy(path: Path, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return the array of a layer's copy for a label of ``shape``: as the label, or with channels behind."""
    channels = load_nifti(path)[0].size // math.prod(shape)
    if channels <= 1:
        return read_like(path, Scan(np.broadcast_to(np.uint8(0), shape), name=name))
    like = Scan(np.broadcast_to(np.uint8(0), (channels, *shape)), name=name)
    return np.moveaxis(read_like(path, like), 0, -1)
