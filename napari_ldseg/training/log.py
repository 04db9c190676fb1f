"""The log of a training: CSV always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import math
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..errors import LDSegError
from ..model.losses import LossTerms
from ..utils.atomic import atomic_write
from .run_folder import LOG

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

    Rows of an earlier attempt after the update ``start`` are dropped.
    """

    def __init__(self, folder: Path, start: int):
        self.path = folder / LOG
        earlier = []
        if start and self.path.is_file():
            # The last line is incomplete if the run was killed while it was written.
            text = self.path.read_text(encoding="utf-8", errors="replace")
            complete = text.rpartition("\n")[0].splitlines()[1:]
            earlier = [line for line in complete if _update_of(line) <= start]
        with atomic_write(self.path, ".part") as temporary:
            lines = [",".join(COLUMNS), *earlier]
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._waiting: list[dict[str, float | int]] = []
        self._board = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(folder / "tensorboard", purge_step=start + 1)

    def add(self, progress: Progress) -> None:
        """Add the row of one update; ``flush`` writes it."""
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
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writerows(self._waiting)
        except OSError as error:
            raise LDSegError(
                f"{self.path} could not be written: {error.strerror}; make room, then resume with "
                "--resume."
            ) from error
        self._waiting = []
        if self._board is not None:
            self._board.flush()


def _update_of(line: str) -> float:
    """Return the update of a row, infinity for one that another program has changed."""
    number = line.partition(",")[0]
    return int(number) if number.isdecimal() else math.inf


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the rows of a run's log; a validation DSC that was not measured is NaN.

    Lines that another program has changed so that they have no numbers are left out.
    """
    rows: list[dict[str, float]] = []
    if not path.is_file():
        return rows
    with (
        path.open(newline="", encoding="utf-8-sig", errors="replace") as file,
        suppress(csv.Error),  # of a field without end
    ):
        for row in csv.DictReader(file):
            with suppress(KeyError, TypeError, ValueError):
                if None not in row.values():
                    rows.append({name: float(row[name].strip() or math.nan) for name in COLUMNS})
    return rows
