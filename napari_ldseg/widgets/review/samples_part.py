"""The samples as hypotheses: a slider, the distinct alternatives with their shares, and "Use this one"."""

from __future__ import annotations

import math

from napari.layers import Image
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QRadioButton,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout
from superqt.utils import signals_blocked

from ...errors import LDSegError
from .keys import tip
from .regions_part import action_button
from .reviewer import Reviewer
from .sample_browser import ORDERS, SampleBrowser
from .thumbnails import Slices, thumbnail

THUMBNAIL = 84
MOST_SHOWN = 6
NOT_A_PROBABILITY = (
    "How many of the model's samples look like this; not the probability of a finding."
)


class SamplesPart(QWidget):
    """Shows the browser's samples and passes on clicks."""

    def __init__(self, browser: SampleBrowser, reviewer: Reviewer, parent: QWidget | None = None):
        super().__init__(parent)
        self._browser, self._reviewer = browser, reviewer
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip(f"{tip('previous_sample')}; {tip('next_sample')}")
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.shown = QLabel()
        self.sorting = QComboBox()
        self.sorting.addItems(ORDERS)
        self.sorting.setToolTip("Typical: a large overlap (mean IoU) with the other samples")
        self.here, self.everywhere = QRadioButton("in this region"), QRadioButton("everywhere")
        self.here.setChecked(True)
        scope = QButtonGroup(self)
        for button in (self.here, self.everywhere):
            scope.addButton(button)
            button.setToolTip(
                "Where alternatives differ, and where “Use this one” changes the labels"
            )
        for control in (self.sorting, self.here, self.everywhere):
            control.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the keys stay with the image
        self.buttons: list[QToolButton] = []
        self._pictures = QWidget()
        self._flow = QFlowLayout(self._pictures)
        self._flow.setContentsMargins(0, 0, 0, 0)
        self.use = action_button("Use this one", "use_sample", self.use_shown)
        sorted_row = QHBoxLayout()
        sorted_row.addWidget(QLabel("Samples"))
        sorted_row.addWidget(self.sorting, 1)
        slider_row = QHBoxLayout()
        slider_row.addWidget(self.slider, 1)
        slider_row.addWidget(self.shown)
        scope_row = QHBoxLayout()
        scope_row.addWidget(QLabel("Look"))
        scope_row.addWidget(self.here)
        scope_row.addWidget(self.everywhere)
        scope_row.addStretch(1)
        self._controls = QWidget()
        column = QVBoxLayout(self._controls)
        column.setContentsMargins(0, 0, 0, 0)
        for row in (sorted_row, slider_row, scope_row):
            column.addLayout(row)
        column.addWidget(self._pictures)
        column.addWidget(self.use)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.note)
        outer.addWidget(self._controls)
        self.slider.valueChanged.connect(lambda value: browser.show(value - 1 if value else None))
        self.sorting.currentTextChanged.connect(browser.sort)
        self.here.toggled.connect(browser.set_in_region)
        browser.changed.connect(self.refresh)
        browser.grouped.connect(self._refresh_alternatives)
        self.refresh()

    def use_shown(self) -> None:
        """Take the sample shown into the labels, and say what changed."""
        try:
            changed = self._browser.use()
        except LDSegError as error:
            self._browser.message.emit(str(error), True)
            return
        where = "everywhere" if self._browser.box is None else "in this region"
        self._browser.show(None)
        text = f"{changed:,} voxels were taken from the sample {where}; Ctrl+Z undoes it."
        if not changed:
            text = "Nothing changes: the labels are the same, or you have edited or reviewed them."
        self._browser.message.emit(text, not changed)

    def refresh(self) -> None:
        """Show the sample that the browser shows."""
        browser = self._browser
        self._controls.setVisible(browser.n > 1)
        self.note.setText(self._note())
        self.note.setVisible(bool(self.note.text()))
        with signals_blocked(self.slider):
            self.slider.setRange(0, browser.n)
            self.slider.setValue(0 if browser.position is None else browser.position + 1)
        text = "label map" if browser.position is None else f"{browser.position + 1} of {browser.n}"
        self.shown.setText(text)
        self.use.setEnabled(browser.sample is not None)
        self.here.setEnabled(self._reviewer.region is not None)
        for button in self.buttons:
            button.setChecked(button.property("sample") == browser.sample)

    def _note(self) -> str:
        browser = self._browser
        if self._reviewer.layer is None:
            return ""
        if browser.part is None:
            return "The samples of this case are not in memory; press Segment to draw them again."
        if browser.n == 1:
            return "There is one sample; segment with 10 or more to see alternatives."
        if not browser.decoded:
            return f"Decoding the samples of {self._reviewer.layer.name} …"
        return ""

    def _refresh_alternatives(self) -> None:
        for button in self.buttons:
            self._flow.removeWidget(button)
            button.deleteLater()
        self.buttons = []
        browser, image = self._browser, self._reviewer.image
        if not isinstance(image, Image):
            return
        target = self._reviewer.target
        for one in browser.alternatives[:MOST_SHOWN] if target is not None else []:
            button = QToolButton()
            button.setCheckable(True)
            button.setProperty("sample", one.medoid)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            count, n = len(one.members), browser.n
            low, high = wilson_interval(count, n)
            button.setText(f"{count} of {n}")
            button.setToolTip(
                f"{count} of {n} samples; with more samples between {low:.0%} and {high:.0%} of them.\n"
                + NOT_A_PROBABILITY
            )
            labels = browser.labels_of(one.medoid)
            assert target is not None
            picture = thumbnail(image, labels, self._where(labels.shape), target.classes, THUMBNAIL)
            button.setIcon(QIcon(picture))
            button.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
            button.clicked.connect(lambda _, i=one.medoid: browser.show_sample(i))
            self._flow.addWidget(button)
            self.buttons.append(button)
        self.refresh()

    def _where(self, shape: tuple[int, ...]) -> Slices:
        """Return the slice of the region shown, or the middle one, cut around the region."""
        browser, region = self._browser, self._reviewer.region
        if region is not None:
            box = browser.box or tuple(slice(0, n) for n in shape)
            plane = [_square(box[a], shape[a], box) for a in (-2, -1)]
            return (*region.peak[:-2], *plane)
        return (*(n // 2 for n in shape[:-2]), slice(None), slice(None))


def _square(side: slice, size: int, box: tuple[slice, ...]) -> slice:
    """Return ``side`` enlarged around its middle, so that both sides of the picture are about as long."""
    longest = 2 * max(s.stop - s.start for s in box[-2:])
    middle = (side.start + side.stop) // 2
    start = max(0, min(middle - longest // 2, size - longest))
    return slice(start, min(size, start + longest))


def wilson_interval(count: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``count`` in ``n`` (Wilson, JASA 22, 1927), 0 to 1."""
    share = count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
