"""The complete state of a run on disk, so that it can be resumed after a kill."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..checkpoint.metadata import Metadata
from ..datasets.case import Case
from ..errors import LDSegError
from ..utils.atomic import atomic_write
from .settings import TrainingSettings


def fingerprint(
    metadata: Metadata,
    settings: TrainingSettings,
    cases: Sequence[Case],
    unlabelled: Sequence[Case] = (),
) -> str:
    """Return a hash of everything that decides a run's result, except the images' content.

    Defaults are left out, so that a setting that a later version adds changes nothing.
    """
    plain: dict[str, Any] = {"mode": "json", "exclude_defaults": True}
    given = settings.model_dump(**plain, exclude={"workers", "cache_gib"})
    described = metadata.model_dump(**plain, exclude={"software", "metrics"})
    names = [[case.name for case in part] for part in (cases, unlabelled) if part]
    text = json.dumps([described, given, *names], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers and strings); if that fails, the previous one stays."""
    try:
        with atomic_write(path, ".part") as temporary, temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as an error of its own file format.
        reason = error.strerror if isinstance(error, OSError) else "the disk is full"
        raise LDSegError(
            f"The training's state could not be written to {path}: {reason}; make room, then resume "
            "(--resume on the command line)."
        ) from error


def load_state(path: Path, expected: str, start_hash: str = "") -> dict[str, Any]:
    """Read what ``save_state`` wrote; nothing in the file is executed.

    Raises
    ------
    LDSegError
        If it is damaged, or belongs to a run with other settings (another ``expected`` fingerprint) or
        another start (``start_hash`` is the SHA-256 of the checkpoint, empty without one).
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["fingerprint"]
    except Exception as error:  # torch raises nearly anything on a damaged archive
        raise LDSegError(
            f"{path} is damaged and cannot be resumed; delete it to start from the beginning."
        ) from error
    if found != expected:
        raise LDSegError(
            f"The run in {path.parent} has other settings, cases or classes than this configuration; "
            "choose another folder, or restore the configuration it was started with."
        )
    if state.get("start", start_hash) != start_hash:
        known = "a checkpoint" if state["start"] else "no checkpoint"
        raise LDSegError(
            f"The run in {path.parent} was started from {known}, not from what is given now; resume it "
            "with the same --start as before."
        )
    return state
