"""The Review widget: regions in doubt, samples, an update from the corrections, sizes, and the display."""

from __future__ import annotations

from collections.abc import Callable

import napari
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from ...errors import LDSegError
from ..common.layers import RESULT_KEY
from ..common.style import WIDTH, WarningLine, scrolled
from ..project.save_result import SaveResult
from ..project.tab import Tab
from .compare_part import ComparePart
from .comparer import Comparer
from .display import Display
from .display_part import DisplayPart
from .keys import KEYS, key_table
from .numbers import Numbers
from .numbers_part import NumbersPart
from .regions_part import RegionsPart
from .reviewer import Reviewer
from .sample_browser import SampleBrowser
from .samples_part import SamplesPart
from .section import section
from .surface_view import SurfaceView
from .update_part import UpdatePart
from .updater import Updater


class ReviewWidget(Tab):
    """Leads from where the model is unsure to the right labels, by keys or buttons."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(napari_viewer)
        self.reviewer = Reviewer(napari_viewer, self)
        self.browser = SampleBrowser(napari_viewer, self.reviewer, self)
        self.updater = Updater(napari_viewer, self.reviewer, self)
        self.regions = RegionsPart(self.reviewer, self.accept)
        self.display = Display(napari_viewer, self.reviewer, self.browser, self)
        self.surface = SurfaceView(napari_viewer, self.reviewer, self.display, self)
        self.comparer = Comparer(napari_viewer, self)
        self.numbers = Numbers(self.reviewer, self.browser, self)
        self.samples = SamplesPart(self.browser, self.reviewer)
        self.display_part = DisplayPart(self.display, self.surface)
        self.compare_part = ComparePart(self.comparer)
        self.numbers_part = NumbersPart(self.numbers, self.reviewer, napari_viewer)
        self.update_part = UpdatePart(self.updater, self.reviewer)
        self.save_result = SaveResult(napari_viewer, lambda: self.reviewer.layer)
        self.save_result.message.connect(self.status.show_message)
        self._actions: dict[str, Callable[[], object]] = {
            "next": self.reviewer.next,
            "previous": self.reviewer.previous,
            "accept": self.accept,
            "correct": self.reviewer.correct,
            "border": self.reviewer.draw_border,
            "skip": self.reviewer.skip,
            "next_sample": lambda: self.browser.step(1),
            "previous_sample": lambda: self.browser.step(-1),
            "use_sample": self.samples.use_shown,
            "outline": self.display.step_labels,
            "map": self.display.step_map,
            "hint": self.update_part.begin,
            "update": self.update_part.go_on,
            "reject": self.updater.reject,
        }
        self.warning = WarningLine()
        self._lay_out()
        parts = (self.reviewer, self.browser, self.updater, self.display, self.surface)
        for part in (*parts, self.numbers, self.comparer):
            part.message.connect(self.status.show_message)
        self.comparer.changed.connect(
            lambda: self.display.set_covered(self.comparer.result is not None)
        )
        self.reviewer.target_changed.connect(self._show_warning)
        self.reviewer.moved.connect(lambda: self.status.show_message(""))
        for action, run in self._actions.items():
            key = KEYS[action][0]
            self.viewer.bind_key(key, lambda _, run=run: run(), overwrite=True)

    def accept(self) -> None:
        """Take the alternative that is shown in the region, if any; mark the region as reviewed and go on."""
        if self.browser.sample is not None and self.browser.box is not None:
            try:
                self.browser.use()
            except LDSegError as error:
                self.status.show_message(str(error), True)
                return
            self.browser.show(None)
        self.reviewer.accept()

    def shut_down(self) -> None:
        """Release the keys and the layers."""
        for action in self._actions:
            self.viewer.bind_key(KEYS[action][0], None)
        self.surface.shut_down()
        self.display.shut_down()
        self.comparer.shut_down()
        self.numbers.shut_down()
        self.numbers_part.shut_down()
        self.updater.shut_down()
        self.browser.shut_down()
        self.reviewer.shut_down()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Show the result as it is reviewed, from the first time that the tab is looked at."""
        super().showEvent(event)
        self.display.start()

    def _show_warning(self) -> None:
        layer = self.reviewer.layer
        self.warning.show_of({} if layer is None else layer.metadata.get(RESULT_KEY) or {})

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.project_notice)
        column.addWidget(self.warning)
        column.addWidget(self.regions)
        column.addWidget(self.samples)
        column.addWidget(self.update_part)
        column.addWidget(section("Display", self.display_part))
        numbers = section("Numbers", self.numbers_part)
        numbers.toggled.connect(self.numbers.set_active)
        self.numbers.set_active(numbers.isExpanded())
        column.addWidget(numbers)
        column.addWidget(section("Compare", self.compare_part))
        column.addWidget(self.save_result)
        keys = QLabel(key_table())
        keys.setWordWrap(True)
        column.addWidget(section("Keys", keys))
        column.addStretch(1)
        content.setMinimumWidth(WIDTH - 16)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        area = scrolled(content)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # else it takes the arrow keys after a click
        outer.addWidget(area, 1)
        # Outside the scroll area, so that the last message is always visible.
        foot = QVBoxLayout()
        foot.setContentsMargins(8, 0, 8, 8)
        foot.addWidget(self.status)
        outer.addLayout(foot)
