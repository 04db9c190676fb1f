"""The update from corrections: scribbles, the button, what would change, and the decision."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from ..common.notice import Notice
from ..common.style import narrowed
from .keys import key_of
from .regions_part import action_button
from .reviewer import Reviewer
from .updater import MEANING, Updater


class UpdatePart(QWidget):
    """Passes clicks to the updater and shows its proposal."""

    def __init__(self, updater: Updater, reviewer: Reviewer, parent: QWidget | None = None):
        super().__init__(parent)
        self._updater, self._reviewer = updater, reviewer
        self.is_it, self.is_not = QRadioButton("is"), QRadioButton("is not")
        self.is_it.setChecked(True)
        kind = QButtonGroup(self)
        for button in (self.is_it, self.is_not):
            kind.addButton(button)
            button.setToolTip("What the voxels that you scribble on are, or are not")
        self.classes = narrowed(QComboBox())
        self.classes.setToolTip("The class of the next scribble")
        self.scribble = action_button("Scribble", "hint", self.begin)
        self.update_button = action_button("Update the rest", "update", self.go_on)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.hide()
        self.notice = Notice()
        decision = self.notice.first, self.notice.second
        for control in (self.is_it, self.is_not, self.classes, *decision):
            control.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the keys stay with the image
        self.note = QLabel()
        self.note.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(QLabel("This"))
        row.addWidget(self.is_it)
        row.addWidget(self.is_not)
        row.addWidget(self.classes, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        buttons = QHBoxLayout()
        buttons.addWidget(self.scribble)
        buttons.addWidget(self.update_button)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.notice)
        column.addWidget(self.note)
        self.classes.currentIndexChanged.connect(self._on_kind)
        self.is_it.toggled.connect(self._on_kind)
        updater.changed.connect(self.refresh)
        updater.progressed.connect(lambda share: self.progress.setValue(round(1000 * share)))
        reviewer.target_changed.connect(self._refresh_classes)
        reviewer.moved.connect(self._choose_class)
        self._refresh_classes()
        self.refresh()

    def begin(self) -> None:
        """Let the user scribble the chosen class."""
        target = self._reviewer.target
        if target is not None and self.classes.currentIndex() >= 0:
            self._updater.hints.begin(target, self.classes.currentData(), self.is_it.isChecked())

    def go_on(self) -> None:
        """Compute an update; apply it if it is shown already."""
        if self._updater.proposal is None:
            self._updater.update()
        else:
            self._updater.apply()

    def refresh(self) -> None:
        """Show the proposal, or nothing."""
        updater = self._updater
        has_target = self._reviewer.target is not None
        self.scribble.setEnabled(has_target)
        self.update_button.setEnabled(has_target and not updater.busy)
        self.progress.setVisible(updater.busy)
        proposal = updater.proposal
        if proposal is None:
            self.notice.hide()
        else:
            self.notice.show_text(
                f"{proposal.message} {MEANING}",
                (f"Apply  ({key_of('update')})", updater.apply),
                (f"Reject  ({key_of('reject')})", updater.reject),
            )
        part = None if self._reviewer.target is None else self._reviewer.target.result_samples()
        shown = proposal is not None and updater.effective is not None and part is not None
        self.note.setVisible(shown)
        if shown and part is not None and updater.effective is not None:
            self.note.setText(
                f"Effective samples where you corrected: {updater.effective:.1f} of {part.samples.n}."
            )
            self.note.setToolTip(
                "How many samples still count after weighting; few make it less sure"
            )

    def _refresh_classes(self) -> None:
        target = self._reviewer.target
        with signals_blocked(self.classes):
            self.classes.clear()
            for value, info in sorted((target.classes if target is not None else {}).items()):
                self.classes.addItem(info.name, value)
        self.refresh()

    def _choose_class(self) -> None:
        """Offer the class that the region's labels may have to change to."""
        region = self._reviewer.region
        if region is not None:
            self.classes.setCurrentIndex(self.classes.findData(region.classes[-1]))

    def _on_kind(self) -> None:
        if self.classes.currentIndex() >= 0:
            self._updater.hints.choose(self.classes.currentData(), self.is_it.isChecked())
