"""What a run says of itself while it learns: CSV always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..atomic import written_whole
from ..errors import LDSegError
from ..model.losses import LossTerms

COLUMNS = ("update", *LossTerms._fields, "learning_rate", "validation_dsc")


class Progress(NamedTuple):
    """Where a run stands; ``validation_dsc`` is None between validations."""

    update: int
    updates: int
    loss: LossTerms
    learning_rate: float
    seconds_left: float
    validation_dsc: float | None = None


class RunLog:
    """``log.csv`` in the run's folder: one row per update, and TensorBoard's files beside it.

    Rows from ``start`` on, of an earlier attempt, are dropped.
    """

    def __init__(self, folder: Path, start: int):
        self.path = folder / "log.csv"
        kept = [row for row in read_log(self.path) if row["update"] <= start] if start else []
        with written_whole(self.path, ".part") as temporary:
            _write(temporary, kept, "w")
        self._waiting: list[dict[str, float | int]] = []
        self._board = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(folder / "tensorboard", purge_step=start + 1)

    def add(self, progress: Progress) -> None:
        """Take in one update; rows reach the disk with ``flush``."""
        row: dict[str, float | int] = {"update": progress.update}
        row |= {name: round(float(v), 6) for name, v in progress.loss._asdict().items()}
        row["learning_rate"] = float(f"{progress.learning_rate:.4g}")
        if progress.validation_dsc is not None:
            row["validation_dsc"] = round(progress.validation_dsc, 4)
        self._waiting.append(row)
        if self._board is not None:
            for name, value in row.items():
                if name != "update":
                    self._board.add_scalar(name, value, progress.update)

    def flush(self) -> None:
        """Append the waiting rows to the file; raises LDSegError if that fails."""
        try:
            _write(self.path, self._waiting, "a")
        except OSError as error:
            raise LDSegError(
                f"{self.path} could not be written: {error.strerror}; make room, then go on with "
                "--resume."
            ) from error
        self._waiting = []
        if self._board is not None:
            self._board.flush()


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the rows of a run's log; a validation DSC that was not measured is NaN."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            {name: float(row[name] or math.nan) for name in COLUMNS}
            for row in csv.DictReader(file)
            if None not in row.values()
        ]


def _write(path: Path, rows: Sequence[dict], mode: str) -> None:
    with path.open(mode, newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if mode == "w":
            writer.writeheader()
        writer.writerows(rows)
