"""Two simulated readers who correct a label map, each by brush alone and with the Review tab.

Both readers know the expert's label of what they look at, and end when the target is reached. A stroke is the
same in all ways (``strokes.py``); it costs a decision, the keys for class and size, and the drawing.

- The *oracle* finds the largest error at once, without looking, and knows which slices and regions have one.
- The *searching* reader has to look along the outlines (``Hand.look``) of a whole slice by brush alone, and
  of the region's window with the tab; goes through slices in order; repairs the errors of what was looked at
  from the top down, as they come; and sees an error only from the limit of visibility on.

Brush alone: slice after slice. When all have been seen, the limit is halved and the reader starts again.

Review tab: Period goes to the first region. If nothing that is wrong reaches into the window, Y. Else, where
two strokes or more are needed, the reader looks at the pictures of the distinct outlines, as long as the last look
helped, and takes the one that leaves fewest strokes, if it saves one and is nearer to the expert; draws lines and
strokes, whichever repairs more, in a volume also in the next slices of the region as long as there is something
wrong; presses Y. When the tab says that what is left is small, the reader goes on as by brush alone, with lines.

The reader does not ask for the update (U): after a stroke that follows a complete piece of errors, or a corrected
region, it makes the labels worse more often than better.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from skimage.segmentation import find_boundaries

from napari_ldseg.widgets.review.samples_part import MOST_SHOWN

ROUNDS, MARGIN, MOST_LINES = 6, 2, 20
PICTURE = 3 * 2.0 * 96 / 2.54  # three fixations, in pixels of an outline
ALT = Qt.KeyboardModifier.AltModifier


class Reader:
    """Acts in ``window``, a ``review_gui.Window``."""

    def __init__(self, window: Any, searching: bool):
        self.window, self.searching = window, searching

    def by_brush(self) -> None:
        """Correct with the brush alone until the target."""
        window = self.window
        slices: list[int | None] = [None]
        if window.expert.ndim == 3:
            shown = (window.layer.data > 0) | (window.expert > 0)
            slices = list(np.flatnonzero(shown.any((1, 2))))
        for _ in range(ROUNDS):
            for index in slices:
                frame = () if index is None else (index,)
                if not self.searching and not window.pieces(frame=frame):
                    continue
                if index is not None:
                    window.show(index)
                self._look()
                self._repair()
                if window.done:
                    return
            window.least /= 2
            slices.reverse()  # back from where the last round ended

    def by_review(self) -> dict[str, int]:
        """Correct with the Review tab until the target; return what was used."""
        window = self.window
        used = dict.fromkeys(("regions", "accepted", "alternatives"), 0)
        _, tab = window.viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
        window.tab = tab
        hand, reviewer = window.hand, tab.reviewer
        hand.wait(lambda: not reviewer.busy and bool(reviewer.regions), "The search for regions")
        hand.wait(lambda: tab.browser.decoded, "Decoding the samples")
        chooses = True
        hand.key(Qt.Key.Key_Period)
        while reviewer.region is not None and not reviewer.ended and not window.done:
            used["regions"] += 1
            region = reviewer.region
            near = self._window_of(region)
            self._look(near)
            if not window.pieces(near):
                used["accepted"] += 1
                hand.key(Qt.Key.Key_Y)
                continue
            if chooses:
                hand.wait(lambda: not tab.browser.busy, "Finding alternatives")
                taken = self._take_alternative(tab, region, near)
                used["alternatives"] += bool(taken)
                chooses = taken is not False
            for _ in self._slices(region, near):
                self._repair(near)
            if window.done:
                break
            hand.key(Qt.Key.Key_Y)
        used["brush_after"] = not window.done
        if not window.done:
            self.by_brush()
        return used

    def _look(self, near: np.ndarray | None = None) -> None:
        """Look along the outlines of the slice shown, or of the part ``near``."""
        if self.searching:
            window = self.window
            outlines = find_boundaries(window.layer.data[window.frame], mode="inner")
            inside = outlines if near is None else outlines & near
            window.hand.look(np.count_nonzero(inside) * window.voxel_on_screen)

    def _repair(self, near: np.ndarray | None = None) -> None:
        """Draw strokes at the errors in the slice shown until there is none, or until the target."""
        lines = MOST_LINES if self.window.tab is not None else 0
        while not self.window.done:
            pieces = self.window.pieces(near)
            if not pieces:
                return
            if lines and self.window.line(int(pieces[0][1].sum()), near):
                lines -= 1
                continue
            if self.searching:  # from the top down
                pieces.sort(key=lambda one: int(np.flatnonzero(one[1].any(1))[0]))
            self.window.stroke(*pieces[0])

    def _window_of(self, region: Any) -> np.ndarray:
        """Return the part of a slice around a region."""
        where = np.zeros(self.window.expert.shape[-2:], bool)
        around = (slice(max(0, s.start - MARGIN), s.stop + MARGIN) for s in region.box[-2:])
        where[tuple(around)] = True
        return where

    def _slices(self, region: Any, near: np.ndarray) -> Iterator[None]:
        """Show the slice of the peak, and those beside it as long as something is wrong in them."""
        yield
        if self.window.expert.ndim == 2:
            return
        peak, box = region.peak[0], region.box[0]
        for way in (range(peak + 1, box.stop), range(peak - 1, box.start - 1, -1)):
            for index in way:
                if self.window.done:
                    return
                wrong = bool(self.window.pieces(near, frame=(index,)))
                if not wrong and not self.searching:
                    break
                self.window.show(index)
                self._look(near)
                if not wrong:
                    break
                yield

    def _take_alternative(self, tab: Any, region: Any, near: np.ndarray) -> bool | None:
        """Take the outline that saves most strokes; return whether there is one, None without a look."""
        window, browser = self.window, tab.browser
        frames: list[tuple[int, ...]] = [()]
        if window.expert.ndim == 3:
            frames = [(i,) for i in range(region.box[0].start, region.box[0].stop)]

        def strokes(labels: np.ndarray) -> int:
            return sum(len(window.pieces(near, frame, labels)) for frame in frames)

        needed = strokes(window.layer.data)
        shown = browser.alternatives[:MOST_SHOWN]
        if needed < 2 or len(shown) < 2:
            return None
        if self.searching:
            for _ in shown:
                window.hand.look(PICTURE)
        free = window.free()
        wrong = np.count_nonzero(window.layer.data != window.expert)
        left = []
        for one in shown:
            labels = window.layer.data.copy()
            part = free[browser.box]
            labels[browser.box][part] = browser.labels_of(one.medoid)[browser.box][part]
            nearer = np.count_nonzero(labels != window.expert) < wrong
            left.append(strokes(labels) if nearer else needed)
        best = int(np.argmin(left))
        if left[best] >= needed:
            return False
        window.hand.think()
        for _ in range(best + 1):
            window.hand.key(Qt.Key.Key_Right, ALT)
        window.hand.key(Qt.Key.Key_U, Qt.KeyboardModifier.ShiftModifier)
        return True
