"""The dialog that defines the classes of a new labels layer or changes those of an existing one."""

from __future__ import annotations

from collections.abc import Callable

from napari.layers import Image
from pydantic import ValidationError
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...checkpoint.metadata import ClassInfo
from ...project.schema import MAX_VALUE
from ..common.class_labels import MAX_NAMED, new_class
from ..common.legend import swatch
from ..common.qt import existing
from ..common.style import StatusLine

COLOUR, NAME, CODE = range(3)
HEADINGS = ("colour", "name", "SNOMED CT code")
CODE_TIP = "Optional: the structure's SNOMED CT identifier, 6 to 18 digits"


class ClassDialog(QDialog):
    """A table with one class per row; it can be accepted only when every row is valid.

    Parameters
    ----------
    classes
        The classes to start with, by label value. Their values do not change.
    images
        For a new layer: the images to choose from; empty for an existing layer.
    count
        Returns the number of voxels with a label value.
    highest
        The highest label value that the layer can store.
    problem
        A sentence to show at first, or "".

    Attributes
    ----------
    classes
        The accepted classes, by label value.
    moves
        The new value of the voxels of each removed class: that of another class, or 0 to erase them.
    """

    def __init__(
        self,
        parent: QWidget | None,
        title: str,
        classes: dict[int, ClassInfo],
        images: list[Image],
        count: Callable[[int], int] = lambda value: 0,
        highest: int = MAX_VALUE,
        problem: str = "",
    ):
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(440)
        self.classes: dict[int, ClassInfo] = {}
        self.moves: dict[int, int] = {}
        self._count, self._images, self._highest = count, images, min(highest, MAX_VALUE)
        self._original = dict(classes)
        self._build(bool(images))
        for value, info in (classes or {1: new_class(1)}).items():
            self._add_row(value, info)
        self.table.selectRow(0)
        self.message.show_message(problem, error=True)

    @property
    def image(self) -> Image | None:
        """The image chosen for a new layer."""
        return self._images[self.image_choice.currentIndex()] if self._images else None

    def accept(self) -> None:
        """Check the rows; close only if each has a unique name and a valid code."""
        try:
            self.classes = self._read()
        except ValueError as error:
            self._show_error(str(error))
            return
        # Voxels given to a class that was removed later go where that class's voxels go.
        for old, target in self.moves.items():
            while target in self.moves:
                target = self.moves[target]
            self.moves[old] = target
        super().accept()

    def _build(self, new: bool) -> None:
        self.image_choice = QComboBox()
        self.image_choice.addItems([image.name for image in self._images])
        self.table = QTableWidget(0, len(HEADINGS))
        self.table.setHorizontalHeaderLabels(HEADINGS)
        existing(self.table.horizontalHeaderItem(CODE)).setToolTip(CODE_TIP)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        existing(self.table.verticalHeader()).setToolTip("The label value in the file")
        header = existing(self.table.horizontalHeader())
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(COLOUR, 60)
        self.table.setColumnWidth(CODE, 130)
        self.table.cellClicked.connect(self._on_cell)
        self.add, self.remove = QPushButton("Add class"), QPushButton("Remove class")
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.message = StatusLine()
        self._build_in_use()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        accept = QDialogButtonBox.ButtonRole.AcceptRole
        self.ok = existing(buttons.addButton("Create labels" if new else "Apply", accept))
        self.ok.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        if new:
            row = QHBoxLayout()
            row.addWidget(QLabel("On image"))
            row.addWidget(self.image_choice, 1)
            layout.addLayout(row)
        layout.addWidget(
            QLabel("Double-click a name or a code to change it; click a colour to change it.")
        )
        layout.addWidget(self.table)
        row = QHBoxLayout()
        row.addWidget(self.add)
        row.addWidget(self.remove)
        row.addStretch(1)
        layout.addLayout(row)
        layout.addWidget(self.message)
        layout.addWidget(self.in_use)
        layout.addWidget(buttons)

    def _build_in_use(self) -> None:
        """Build the question what to do with the voxels of a class that is to be removed."""
        self.in_use = QWidget()
        self.erase = QPushButton("Erase its voxels")
        self.give = QPushButton("Give them to")
        self.keep = QPushButton("Keep the class")
        self.receiver = QComboBox()
        self.erase.clicked.connect(lambda: self._move_voxels(0))
        self.give.clicked.connect(lambda: self._move_voxels(self.receiver.currentData()))
        self.keep.clicked.connect(self._close_question)
        row = QHBoxLayout(self.in_use)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.erase, self.give, self.receiver, self.keep):
            row.addWidget(widget)
        row.addStretch(1)
        self.in_use.hide()

    def _add_row(self, value: int, info: ClassInfo) -> None:
        row = self.table.rowCount()
        self.table.insertRow(row)
        self.table.setVerticalHeaderItem(row, QTableWidgetItem(str(value)))
        colour = QTableWidgetItem()
        colour.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        colour.setToolTip("Click to choose another colour")
        self.table.setItem(row, COLOUR, colour)
        self._set_colour(row, info.colour)
        self.table.setItem(row, NAME, QTableWidgetItem(info.name))
        self.table.setItem(row, CODE, QTableWidgetItem(info.snomed or ""))
        self._item(row, CODE).setToolTip(CODE_TIP)

    def _set_colour(self, row: int, colour: str) -> None:
        item = self._item(row, COLOUR)
        item.setData(Qt.ItemDataRole.UserRole, colour)
        item.setIcon(swatch(colour))

    def _values(self) -> list[int]:
        headings = map(self.table.verticalHeaderItem, range(self.table.rowCount()))
        return [int(existing(heading).text()) for heading in headings]

    def _free_value(self) -> int | None:
        """Return the value after the last one, or the lowest that is free; None if none is."""
        taken = {0, *self._values(), *self._original}
        following = max(taken) + 1
        if following <= self._highest:
            return following
        return next((value for value in range(1, self._highest + 1) if value not in taken), None)

    def _item(self, row: int, column: int) -> QTableWidgetItem:
        return existing(self.table.item(row, column))

    def _text(self, row: int, column: int) -> str:
        return self._item(row, column).text().strip()

    def _on_cell(self, row: int, column: int) -> None:
        if column == COLOUR:
            old = QColor(self._item(row, COLOUR).data(Qt.ItemDataRole.UserRole))
            new = QColorDialog.getColor(old, self, "Colour of the class")
            if new.isValid():
                self._set_colour(row, new.name())

    def _on_add(self) -> None:
        value = self._free_value()
        if value is None or self.table.rowCount() >= MAX_NAMED:
            most = min(MAX_NAMED, self._highest)
            self._show_error(f"This labels layer has room for {most} classes; remove one first.")
            return
        self._close_question()
        self._add_row(value, new_class(value))
        row = self.table.rowCount() - 1
        self.table.selectRow(row)
        self.table.editItem(self.table.item(row, NAME))

    def _on_remove(self) -> None:
        row = self.table.currentRow()
        if self.table.rowCount() < 2:
            self._show_error("A labels layer needs at least one class; rename this one instead.")
            return
        if row < 0:
            self._show_error("Select the class to remove first.")
            return
        value, name = self._values()[row], self._text(row, NAME)
        voxels = self._count(value) if value in self._original else 0
        if not voxels:
            self._remove_row(row)
            return
        self._show_error(
            f"{name} is in use ({voxels:,} voxel{'s' if voxels != 1 else ''}). Choose what to do with its "
            "voxels."
        )
        self.receiver.clear()
        for other, receiver in enumerate(self._values()):
            if other != row:
                self.receiver.addItem(self._text(other, NAME), receiver)
        self.table.setEnabled(False)
        self._enable_buttons(False)
        self.in_use.show()

    def _move_voxels(self, target: int) -> None:
        row = self.table.currentRow()
        self.moves[self._values()[row]] = target
        self._remove_row(row)

    def _remove_row(self, row: int) -> None:
        self.table.removeRow(row)
        if not self._original:
            for later in range(row, self.table.rowCount()):
                self.table.setVerticalHeaderItem(later, QTableWidgetItem(str(later + 1)))
        self._close_question()

    def _close_question(self) -> None:
        self.message.show_message("")
        self.in_use.hide()
        self.table.setEnabled(True)
        self._enable_buttons(True)

    def _enable_buttons(self, enabled: bool) -> None:
        for button in (self.add, self.remove, self.ok):
            button.setEnabled(enabled)

    def _read(self) -> dict[int, ClassInfo]:
        """Return the classes of the table. Raises ValueError with one sentence."""
        classes: dict[int, ClassInfo] = {}
        for row, value in enumerate(self._values()):
            name, code = self._text(row, NAME), self._text(row, CODE)
            if value > MAX_VALUE:
                raise ValueError(
                    f"Class {value} cannot be kept, since a project holds label values up to {MAX_VALUE}; "
                    "remove it, and give its voxels to another class."
                )
            colour = self._item(row, COLOUR).data(Qt.ItemDataRole.UserRole)
            if not name:
                raise ValueError(f"Class {value} has no name; enter one.")
            if name.casefold() == "background":
                raise ValueError(
                    f"Background is reserved for voxels without a class; give class {value} another name."
                )
            if any(name == other.name for other in classes.values()):
                raise ValueError(f"Two classes are called {name}; rename one of them.")
            try:
                classes[value] = ClassInfo(name=name, colour=colour, snomed=code or None)
            except ValidationError as error:
                if error.errors()[0]["loc"] == ("snomed",):
                    raise ValueError(
                        f"{code} is not a SNOMED CT code; enter 6 to 18 digits, or leave it empty."
                    ) from error
                raise ValueError(f"The name of class {value} is too long; shorten it.") from error
        return classes

    def _show_error(self, text: str) -> None:
        self.message.show_message(text, error=True)
