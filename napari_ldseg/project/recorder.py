"""Writes every change of an edited label array to the disk within a second.

The GUI only reports that something changed (microseconds). A thread compares the array with its own copy,
appends the difference to the case's journal, and updates the edited mask. It does not matter how the array
was changed: brush, fill, undo, or another plugin. While the disk cannot be written, the records wait in
memory and are tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

import numpy as np

from ..errors import LDSegError
from ..scans.scan import Scan
from ..utils.text import one_line
from . import journal
from .case import CaseFolder, Masks, unnamed_value
from .images import geometry_of
from .schema import SignOff

SECONDS_BETWEEN_WRITES = 0.2
SECONDS_BETWEEN_RETRIES = 2.0
COMPACT_BYTES = 8 * 2**20
CHUNK_VOXELS = 2**20
EDITED, PINNED, REVIEWED = 1, 2, 4


class Recorder:
    """The journal's writer for one label array.

    Parameters
    ----------
    name
        The label's name in messages.
    array
        The label as the user sees and edits it.
    masks
        The state that counts as recorded: the label before the user edited it, and both masks.
    grid
        The geometry to write with.
    open_case
        Returns the case and adds it to the project if it is new; called in the recorder's thread before the
        first record is written. May raise OSError or LDSegError; then it is tried again.
    on_problem
        Called in the recorder's thread with one sentence when the disk cannot be written or the array has
        another shape than the label, and with None when all is well again.
    case
        The case, if there is one already; then ``open_case`` is not called.
    on_change
        Called in the recorder's thread when the state of the case changes: the first voxel is edited or the
        last edit undone, the sign-off withdrawn, or a value without a class appears or disappears.
    """

    def __init__(
        self,
        name: str,
        array: np.ndarray,
        masks: Masks,
        grid: Scan,
        open_case: Callable[[], CaseFolder],
        on_problem: Callable[[str | None], None] = lambda text: None,
        case: CaseFolder | None = None,
        on_change: Callable[[], None] = lambda: None,
    ):
        self.name = name
        self.case = case
        self.problem: str | None = None
        self._array = array
        self._grid = grid
        self._open_case, self._on_problem, self._on_change = open_case, on_problem, on_change
        self._base = masks.label
        self._seen = np.array(masks.label, order="C")
        self._previous: np.ndarray | None = None
        # What was edited in an earlier session stays edited: its undo history is lost.
        self._flags: np.ndarray = masks.edited * np.uint8(EDITED | PINNED)
        self._flags += masks.reviewed * np.uint8(REVIEWED)
        self._pending = b""
        self._size = 0
        self._withdrawn = 0
        self._touched = self._done = 0
        self._painted = False
        self._flush = self._stop = self._failed = False
        self._changes: dict[str, object] | None = None
        self._wake = threading.Condition()
        self._state = threading.RLock()
        self._reported = self._summary()
        self._thread = threading.Thread(target=self._work, name=f"journal of {name}", daemon=True)
        self._thread.start()

    def touch(self, array: np.ndarray, painted: bool) -> None:
        """Report that ``array`` may have changed: by painting, or by undo, redo or replacement."""
        with self._wake:
            self._array = array
            self._touched += 1
            self._painted |= painted
            self._wake.notify_all()

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until all changes so far are recorded and, unless there is a problem, on the disk."""
        with self._wake:
            self._touched += 1
            wanted, self._flush = self._touched, True
            self._wake.notify_all()
            return self._wake.wait_for(lambda: self._done >= wanted or self._stop, timeout)

    def masks(self) -> Masks:
        """Return copies of the label and the masks as they are now. Raises LDSegError as ``sign_off``."""
        with self._state:
            self._record_changes()
            return self._recorded()

    def counts(self) -> tuple[int, int]:
        """Return how many voxels are edited and how many reviewed, as last recorded."""
        return self._count(EDITED), self._count(REVIEWED)

    def reviewed_along(self, axes: tuple[int, ...]) -> np.ndarray:
        """Return the reviewed fraction at each position along ``axes``; with one axis, of each slice."""
        others = tuple(axis for axis in range(self._seen.ndim) if axis not in axes)
        with self._state:
            return ((self._flags & REVIEWED) != 0).mean(axis=others)

    def reviewed_at(self, where: tuple[slice | np.ndarray, ...]) -> np.ndarray:
        """Return which of the voxels ``where`` are reviewed, bool."""
        with self._state:
            return (self._flags[where] & REVIEWED) != 0

    def known(self) -> np.ndarray:
        """Return which voxels are edited or reviewed, as last recorded, bool."""
        with self._state:
            return (self._flags & (EDITED | REVIEWED)) != 0

    def unnamed_value(self, values: Collection[int]) -> int | None:
        """Return the largest reviewed label value that is not among ``values``, None if there is none."""
        with self._state:
            if unnamed_value(self._seen, values) is None:
                return None
            return unnamed_value(self._seen[(self._flags & REVIEWED) != 0], values)

    def mark_reviewed(self, where: tuple[slice | np.ndarray, ...], reviewed: bool) -> None:
        """Set or clear the reviewed mask at ``where``, and save it; voxels that nobody labelled stay unreviewed.

        Raises LDSegError as ``sign_off``.
        """
        with self._state:
            self._record_changes()
            if reviewed:
                self._flags[where] |= np.where(self._seen[where] < 0, 0, REVIEWED).astype(np.uint8)
            else:
                self._flags[where] &= ~np.uint8(REVIEWED)
        self.save()

    def sign_off(self, who: str, when: str) -> None:
        """Mark everything that is labelled as reviewed and record who is responsible for it.

        Raises LDSegError if the array has another shape than the label.
        """
        with self._state:
            self._record_changes()
            verdict = "edited" if self._count(EDITED) else "accepted"
            self._flags |= np.where(self._seen < 0, 0, REVIEWED).astype(np.uint8)
        self.save(sign_off=SignOff(who=who, when=when, verdict=verdict))

    def take_update(self, change: Callable[[], np.ndarray], **changes: object) -> None:
        """Call ``change``, which writes new predictions into the array and returns it: not an edit.

        ``changes`` are those of the case's record.
        """
        with self._state:
            self._record_changes()
            array = change()
            indices, labels = _difference(array, self._seen)
            self._previous, self._base = self._base, self._base.copy()
            self._base.reshape(-1)[indices] = labels
            self._commit(indices, labels, self._flags.reshape(-1)[indices] & EDITED)
            with self._wake:
                self._painted = False
        self.save(**changes)

    def save(self, **changes: object) -> None:
        """Request that label, masks and record (with ``changes``) are written, and the journal deleted."""
        with self._wake:
            self._changes = {**(self._changes or {}), **changes}
            self._touched += 1
            self._wake.notify_all()

    def set_grid(self, grid: Scan, **changes: object) -> None:
        """Write with the geometry ``grid`` from now on; ``changes`` are those of the case's record."""
        with self._state:
            self._grid = grid
        self.save(geometry=geometry_of(grid), **changes)

    def finish_writing(self, timeout: float = 30.0) -> bool:
        """Save everything and delete the journal; return whether everything recorded is on the disk."""
        self.flush(timeout)
        if self._size or self._pending or self._failed:
            self.save()
            self.flush(timeout)
        return not self._failed

    def close(self, timeout: float = 30.0) -> bool:
        """Save and end the thread; return whether everything is on the disk."""
        saved = self.finish_writing(timeout)
        self.stop()
        self._thread.join(timeout)
        return saved

    def stop(self) -> None:
        """End the thread without saving."""
        with self._wake:
            self._stop = True
            self._wake.notify_all()

    def _count(self, flag: int) -> int:
        with self._state:
            return int(np.count_nonzero(self._flags & flag))

    def _work(self) -> None:
        written = 0.0
        while True:
            with self._wake:
                patience = SECONDS_BETWEEN_RETRIES if self._failed else None
                self._wake.wait_for(lambda: self._stop or self._touched > self._done, patience)
                if self._stop:
                    return
                # Collect several changes in one record, but never for longer than the interval.
                pause = written + SECONDS_BETWEEN_WRITES - time.monotonic()
                self._wake.wait_for(lambda: self._stop or self._flush, max(0.0, pause))
                touched, self._flush = self._touched, False
            self._write()
            written = time.monotonic()
            with self._wake:
                self._done = max(self._done, touched)
                self._wake.notify_all()

    def _record_changes(self) -> None:
        """Record in memory what has changed in the array."""
        with self._state:
            for _ in range(4):
                with self._wake:
                    array, touched, painted = self._array, self._touched, self._painted
                if misfit := self._misfit():
                    raise LDSegError(misfit)
                if array.dtype != self._seen.dtype:
                    self._seen = self._seen.astype(array.dtype)
                indices, labels = _difference(array, self._seen)
                journal.check_values(labels, self.name)
                # Touched meanwhile: compare again, so that no later change is recorded without an earlier one.
                if self._touched == touched:
                    break
            with self._wake:
                self._painted = self._painted and self._touched != touched
            if not len(indices):
                return
            flags = self._flags.reshape(-1)
            was, back = flags[indices], labels == self._base.reshape(-1)[indices]
            if painted:
                # Painting the original value by hand is a decision too, and no later undo removes it.
                edited = np.ones(len(indices), bool)
                flags[indices] = was | EDITED | np.where(back, PINNED, 0).astype(np.uint8)
            else:
                if self._previous is not None:
                    back |= labels == self._previous.reshape(-1)[indices]
                edited = ((was & PINNED) != 0) | ~back
                flags[indices] = np.where(edited, was | EDITED, was & ~np.uint8(EDITED))
            self._commit(indices, labels, edited)

    def _commit(self, indices: np.ndarray, labels: np.ndarray, edited: np.ndarray) -> None:
        self._seen.reshape(-1)[indices] = labels
        if len(indices):
            self._pending += journal.encode(indices, labels, edited)
        if labels.min(initial=0) < 0:
            self._flags.reshape(-1)[indices[labels < 0]] &= ~np.uint8(REVIEWED)

    def _misfit(self) -> str | None:
        """Return a sentence if the array has another shape than the label: its changes wait until it fits."""
        if self._array.shape == self._seen.shape:
            return None
        return (
            f"{self.name} has the shape {self._array.shape} instead of {self._seen.shape}, so its corrections "
            "are no longer saved; undo that."
        )

    def _recorded(self) -> Masks:
        return Masks(self._seen.copy(), (self._flags & EDITED) != 0, (self._flags & REVIEWED) != 0)

    def _write(self) -> None:
        """Write what has changed to the disk, or record why that failed."""
        text = self._misfit()
        self._failed = False
        try:
            if text is None:
                self._record_changes()
            self._try_write()
        except Exception as error:  # The thread must continue, whatever the reason.
            self._failed = True
            text = (
                f"The corrections of {self.name} cannot be saved ({_reason(error)}); they are kept in "
                "memory and tried again every two seconds."
            )
        if text != self.problem:
            self.problem = text
            self._on_problem(text)
        summary = self._summary()
        if summary != self._reported:
            self._reported = summary
            self._on_change()

    def _summary(self) -> tuple:
        """Return what the case's displayed state depends on and edits can change."""
        with self._state:
            edited = bool((self._flags & EDITED).any())
            return edited, self._withdrawn, int(self._seen.max(initial=0))

    def _try_write(self) -> None:
        with self._wake:
            changes, self._changes = self._changes, None
        if changes is None and not self._pending:
            return
        try:
            if self.case is None:
                self.case = self._open_case()
            if changes is None:
                lost = bool(self._size) and not self.case.journal.exists()
                if lost or self._append(self.case, self._pending) > COMPACT_BYTES:
                    changes = {}
            if changes is not None:
                self._save(self.case, changes)
        except BaseException:
            if changes is not None:
                with self._wake:
                    self._changes = {**changes, **(self._changes or {})}
            raise

    def _append(self, case: CaseFolder, pending: bytes) -> int:
        """Append the records and return the journal's size."""
        if not self._size:
            self._withdraw_sign_off(case)
            self._size = case.begin_journal(self._seen.shape)
        self._size = journal.append(case.journal, self._size, pending)
        self._drop_pending(pending)
        return self._size

    def _save(self, case: CaseFolder, changes: dict[str, object]) -> None:
        with self._state:
            if self._misfit() is None:
                self._record_changes()
            masks, pending = self._recorded(), self._pending
        if (pending or not masks.complete) and "sign_off" not in changes:
            self._withdraw_sign_off(case)
        if not case.journal.exists():
            case.check_present()
            self._size = 0
        if pending:
            # First the journal: after a crash between label and mask it restores both.
            self._append(case, pending)
        record = case.record().model_copy(update=changes)
        unnamed = self.unnamed_value(record.names)
        case.save(self._grid, masks, unnamed_value=unnamed, **changes)
        self._size = 0

    def _withdraw_sign_off(self, case: CaseFolder) -> None:
        """Withdraw the sign-off: the changed label is no longer the signed one."""
        record = case.record()
        if record.sign_off is not None:
            earlier = (*record.earlier_sign_offs, record.sign_off)
            case.change(sign_off=None, earlier_sign_offs=earlier)
            self._withdrawn += 1

    def _drop_pending(self, written: bytes) -> None:
        with self._state:
            self._pending = self._pending[len(written) :]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, OSError | LDSegError):
        return str(error).rstrip(".")
    return one_line(f"{type(error).__name__}: {error}")


def _difference(array: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return flat C indices and new values of all voxels in which ``array`` differs from ``seen``."""
    row = max(1, seen[:1].size)
    step = max(1, CHUNK_VOXELS // row)
    found, values = [np.empty(0, np.int64)], [np.empty(0, array.dtype)]
    for start in range(0, len(seen), step):
        ours = seen[start : start + step]
        if np.array_equal(array[start : start + step], ours):
            continue
        theirs = np.array(array[start : start + step], order="C")
        where = np.flatnonzero(theirs != ours)
        found.append(where + start * row)
        values.append(theirs.reshape(-1)[where])
    return np.concatenate(found), np.concatenate(values)
