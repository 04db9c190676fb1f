"""A hand on the mouse and the keys of a real napari window, with its counts and its time.

Every action is a Qt event sent to the widget that gets it in reality: the keys to the one with the focus,
the mouse to the canvas or to a button that is scrolled into view before. Three times are kept separately:

- hand: the keystroke-level model (Card, Moran and Newell, CACM 23, 1980): K 0.28 s for a key, also for each
  modifier; P 1.1 s for pointing; B 0.1 s to press or release a button, and for a notch of the wheel; M 1.35 s
  for a decision; D 0.9 s + 0.16 s per cm for a drawn stroke, at 96 pixels per inch. The hands do not move
  between mouse and keys: one is on each;
- looking: what the eyes take to go along outlines: a fixation of 0.3 s (Rayner, Psychol Bull 124, 1998)
  for each 2 cm, which is what the fovea sees at 60 cm (2 degrees). An assumption; it is counted apart from
  the hand so that its effect can be shown;
- program: what the window takes to handle the events, and what the user waits for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import napari
import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QScrollArea, QWidget

KEY, POINT, BUTTON, DECISION = 0.28, 1.1, 0.1, 1.35
FIXATION, CM_PER_FIXATION = 0.3, 2.0
DRAW, DRAW_PER_CM, PIXELS_PER_CM = 0.9, 0.16, 96 / 2.54
NOTCH = 120
MOVE = 0.012  # s between two moves of the mouse; vispy and napari ignore faster ones
NONE = Qt.KeyboardModifier.NoModifier
LEFT = Qt.MouseButton.LeftButton
LIMIT = 300  # seconds that a user waits


class Hand:
    """Acts on ``viewer`` and keeps ``counts``, the times in s, and ``cpu`` (s, all threads)."""

    def __init__(self, viewer: napari.Viewer):
        self.viewer = viewer
        self.counts: Counter[str] = Counter()
        self.hand = self.looking = self.program = self.cpu = 0.0
        self.longest = (0.0, "")
        self.unfocused = 0
        self._paused = 0.0

    @property
    def canvas(self) -> QWidget:
        """The canvas' native widget."""
        return self.viewer.window._qt_viewer.canvas.native

    def think(self) -> None:
        """Decide something."""
        self.hand += DECISION
        self.counts["decisions"] += 1

    def look(self, pixels: float) -> None:
        """Look along outlines that are ``pixels`` long on the screen."""
        self.looking += FIXATION * max(1.0, pixels / PIXELS_PER_CM / CM_PER_FIXATION)
        self.counts["looks"] += 1

    def key(self, key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Press a key, which goes to the widget with the focus."""
        self.counts["keys"] += 1
        self.hand += KEY * (1 if modifier == NONE else 2)
        widget = QApplication.focusWidget() or self.canvas
        if widget is not self.canvas:
            self.unfocused += 1
        self._handle(lambda: QTest.keyClick(widget, key, modifier), f"key {key.name}")

    def click(self, button: QWidget) -> None:
        """Click a button of a tab; turn the wheel over the tab first if it is out of sight."""
        self._scroll_to(button)
        self.counts["presses"] += 1
        self.hand += POINT + 2 * BUTTON
        self._handle(lambda: QTest.mouseClick(button, LEFT), "click")

    def stroke(self, places: Sequence[QPoint]) -> None:
        """Drag with the left button along canvas pixels."""
        self.counts["presses"] += 1
        self.counts["strokes"] += 1
        length = sum(float(np.hypot(b.x() - a.x(), b.y() - a.y())) for a, b in pairwise(places))
        self.hand += POINT + 2 * BUTTON + DRAW + DRAW_PER_CM * length / PIXELS_PER_CM

        def drag() -> None:
            native = self.canvas
            QTest.mouseMove(native, places[0])
            QTest.mousePress(native, LEFT, NONE, places[0])
            self._pause(MOVE)
            for place in places[1:]:
                at, everywhere = QPointF(place), QPointF(native.mapToGlobal(place))
                kind, no_button = QEvent.Type.MouseMove, Qt.MouseButton.NoButton
                QApplication.sendEvent(
                    native, QMouseEvent(kind, at, everywhere, no_button, LEFT, NONE)
                )
                QApplication.processEvents()
                self._pause(MOVE)
            QTest.mouseRelease(native, LEFT, NONE, places[-1])

        self._handle(drag, "stroke")

    def wheel(self, widget: QWidget, place: QPoint, notches: int) -> None:
        """Turn the wheel over ``widget``; positive is away from the user."""
        step = NOTCH if notches > 0 else -NOTCH
        for _ in range(abs(notches)):
            self.counts["wheel"] += 1
            self.hand += BUTTON
            event = QWheelEvent(
                QPointF(place),
                QPointF(widget.mapToGlobal(place)),
                QPoint(0, 0),
                QPoint(0, step),
                Qt.MouseButton.NoButton,
                NONE,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            )
            self._handle(lambda event=event: QApplication.sendEvent(widget, event), "wheel")

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Wait for the program until ``done()``."""
        end = time.monotonic() + LIMIT

        def run() -> None:
            while not done():
                if time.monotonic() > end:
                    raise SystemExit(f"{what} did not end within {LIMIT} s.")
                QApplication.processEvents()
                time.sleep(0.01)

        self._handle(run, what)

    def _scroll_to(self, button: QWidget) -> None:
        parent = button.parentWidget()
        while parent is not None and not isinstance(parent, QScrollArea):
            parent = parent.parentWidget()
        if parent is None:
            return
        view = parent.viewport()
        for _ in range(30):
            top = button.mapTo(view, QPoint(0, 0)).y()
            if top >= 0 and top + button.height() <= view.height():
                return
            self.wheel(view, view.rect().center(), 1 if top < 0 else -1)

    def _pause(self, seconds: float) -> None:
        """Let time pass that the hand takes, not the program."""
        time.sleep(seconds)
        self._paused += seconds

    def _handle(self, act: Callable[[], object], what: str) -> None:
        self._paused = 0.0
        started, cpu = time.perf_counter(), time.process_time()
        act()
        for _ in range(3):  # also what the first events post, such as drawing
            QApplication.processEvents()
        seconds = time.perf_counter() - started - self._paused
        self.program += seconds
        self.cpu += time.process_time() - cpu
        self.longest = max(self.longest, (seconds, what))
