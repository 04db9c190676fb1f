"""The dialog that defines the classes of a new labels layer, or changes those of an existing one."""

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
from ..common.class_labels import MAX_CLASSES, new_class
from ..common.legend import swatch

COLOUR, NAME, CODE = range(3)
HEADINGS = ("colour", "name", "SNOMED CT code")
CODE_TIP = "Optional: the structure's SNOMED CT identifier, 6 to 18 digits"
ERROR_STYLE = "color: #ff6b6b; font-weight: bold;"


class ClassDialog(QDialog):
    """A table of classes, one row each; accepted only when every row is valid.

    Parameters
    ----------
    classes
        The classes to start with, by label value. Their values stay.
    images
        For a new layer: the images to choose from; empty for an existing layer.
    count
        Returns how many voxels have a label value.
    """

    def __init__(
        self,
        parent: QWidget | None,
        title: str,
        classes: dict[int, ClassInfo],
        images: list[Image],
        count: Callable[[int], int] = lambda value: 0,
    ):
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(440)
        self.classes: dict[int, ClassInfo] = {}
        self.moves: dict[int, int] = {}
        self._count, self._images = count, images
        self._original = dict(classes)
        self._build(bool(images))
        for value, info in (classes or {1: new_class(1)}).items():
            self._add_row(value, info)
        self.table.selectRow(0)

    @property
    def image(self) -> Image | None:
        """The image chosen for a new layer."""
        return self._images[self.image_choice.currentIndex()] if self._images else None

    def accept(self) -> None:
        """Check the rows; close only if each has a name of its own and a valid code."""
        try:
            self.classes = self._read()
        except ValueError as error:
            self._say(str(error))
            return
        # Voxels moved to a class that was removed afterwards go where that one's go.
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
        self.table.horizontalHeaderItem(CODE).setToolTip(CODE_TIP)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.verticalHeader().setToolTip("The label value in the file")
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(COLOUR, 60)
        self.table.setColumnWidth(CODE, 130)
        self.table.cellClicked.connect(self._on_cell)
        self.add, self.remove = QPushButton("Add class"), QPushButton("Remove class")
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.hide()
        self._build_in_use()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.ok = buttons.addButton(
            "Create labels" if new else "Apply", QDialogButtonBox.ButtonRole.AcceptRole
        )
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
            QLabel("Double-click to change a name or a code, click a colour to change it.")
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
        self.in_use = QWidget()
        self.erase = QPushButton("Erase its voxels")
        self.give = QPushButton("Give them to")
        self.keep = QPushButton("Keep the class")
        self.heir = QComboBox()
        self.erase.clicked.connect(lambda: self._move_to(0))
        self.give.clicked.connect(lambda: self._move_to(self.heir.currentData()))
        self.keep.clicked.connect(self._settle)
        row = QHBoxLayout(self.in_use)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.erase, self.give, self.heir, self.keep):
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
        self.table.item(row, CODE).setToolTip(CODE_TIP)

    def _set_colour(self, row: int, colour: str) -> None:
        item = self.table.item(row, COLOUR)
        item.setData(Qt.ItemDataRole.UserRole, colour)
        item.setIcon(swatch(colour))

    def _values(self) -> list[int]:
        rows = range(self.table.rowCount())
        return [int(self.table.verticalHeaderItem(row).text()) for row in rows]

    def _text(self, row: int, column: int) -> str:
        return self.table.item(row, column).text().strip()

    def _on_cell(self, row: int, column: int) -> None:
        if column == COLOUR:
            old = QColor(self.table.item(row, COLOUR).data(Qt.ItemDataRole.UserRole))
            new = QColorDialog.getColor(old, self, "Colour of the class")
            if new.isValid():
                self._set_colour(row, new.name())

    def _on_add(self) -> None:
        value = max([0, *self._values(), *self._original]) + 1
        if value > MAX_CLASSES:
            self._say(f"A labels layer holds at most {MAX_CLASSES} classes; remove one first.")
            return
        self._settle()
        self._add_row(value, new_class(value))
        row = self.table.rowCount() - 1
        self.table.selectRow(row)
        self.table.editItem(self.table.item(row, NAME))

    def _on_remove(self) -> None:
        row = self.table.currentRow()
        if self.table.rowCount() < 2:
            self._say("One class must stay; rename it instead.")
            return
        if row < 0:
            self._say("Select the class to remove first.")
            return
        value, name = self._values()[row], self._text(row, NAME)
        voxels = self._count(value) if value in self._original else 0
        if not voxels:
            self._drop(row)
            return
        self._say(
            f"{name} is in use, on {voxels:,} voxels: erase them, give them to another class, or keep "
            "the class."
        )
        self.heir.clear()
        for other, heir in enumerate(self._values()):
            if other != row:
                self.heir.addItem(self._text(other, NAME), heir)
        self.table.setEnabled(False)
        self._allow(False)
        self.in_use.show()

    def _move_to(self, target: int) -> None:
        row = self.table.currentRow()
        self.moves[self._values()[row]] = target
        self._drop(row)

    def _drop(self, row: int) -> None:
        self.table.removeRow(row)
        if not self._original:
            for later in range(row, self.table.rowCount()):
                self.table.setVerticalHeaderItem(later, QTableWidgetItem(str(later + 1)))
        self._settle()

    def _settle(self) -> None:
        self.message.hide()
        self.in_use.hide()
        self.table.setEnabled(True)
        self._allow(True)

    def _allow(self, allowed: bool) -> None:
        for button in (self.add, self.remove, self.ok):
            button.setEnabled(allowed)

    def _read(self) -> dict[int, ClassInfo]:
        """Return the table's classes, or raise ValueError with a sentence."""
        classes: dict[int, ClassInfo] = {}
        for row, value in enumerate(self._values()):
            name, code = self._text(row, NAME), self._text(row, CODE)
            colour = self.table.item(row, COLOUR).data(Qt.ItemDataRole.UserRole)
            if not name:
                raise ValueError(f"Class {value} has no name; give it one.")
            if name.casefold() == "background":
                raise ValueError(f"Background is what has no class; give class {value} a name.")
            if any(name == other.name for other in classes.values()):
                raise ValueError(f"Two classes are called {name}; rename one.")
            try:
                classes[value] = ClassInfo(name=name, colour=colour, snomed=code or None)
            except ValidationError as error:
                if error.errors()[0]["loc"] == ("snomed",):
                    raise ValueError(
                        f"{code} is no SNOMED CT code; it has 6 to 18 digits, or leave it empty."
                    ) from error
                raise ValueError(f"The name of class {value} is too long; shorten it.") from error
        return classes

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setStyleSheet(ERROR_STYLE)
        self.message.show()
