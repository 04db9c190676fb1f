"""The choice of one layer per channel, for a model of several channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from ...errors import LDSegError
from ...layers.channels import assign_channels
from ...layers.geometry import grid_of
from ..common.style import narrowed

NONE = "choose a layer"


class ChannelChoice(QWidget):
    """A row per channel: its name and a combo box of layers; empty for other models."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._names: tuple[str, ...] = ()
        self._layers: list[Image] = []
        self._image: Image | None = None
        self.rows: list[ComboBox] = []
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.hide()

    @property
    def names(self) -> tuple[str, ...]:
        """The channels that have a row."""
        return self._names

    def show_for(self, names: Sequence[str], layers: Sequence[Image], image: Image | None) -> None:
        """Show a row for each of ``names`` (none hides the widget), with ``layers`` to choose from.

        The layers on the grid of ``image`` are assigned to the channels by their names. What is chosen stays
        unless the ``names`` are others, or the image is another one that no row has.
        """
        self._layers = list(layers)
        new = tuple(names) != self._names
        if new:
            self._build(names)
        for row in self.rows:
            with row.changed.blocked():
                before = row.value
                row.reset_choices()
                if before in self._layers:  # also one that was renamed
                    row.value = before
        new = new or (image is not self._image and image not in self.chosen)
        self._image = image
        if image is not None:
            self._assign(image, keep=not new)
        self.setVisible(bool(names))

    @property
    def chosen(self) -> tuple[Image | None, ...]:
        """The layer of each channel, None where none is chosen."""
        return tuple(row.value for row in self.rows)

    def layers(self) -> tuple[Image, ...]:
        """Return the layer of each channel.

        Raises
        ------
        LDSegError
            If one is missing, or a layer is chosen for two channels.
        """
        found: dict[Image, str] = {}
        for name, layer in zip(self._names, self.chosen, strict=True):
            if layer is None:
                raise LDSegError(
                    f"No layer is chosen for the channel {name}; open its image and choose it there."
                )
            if layer in found:
                raise LDSegError(
                    f"{layer.name} is chosen for both {found[layer]} and {name}; choose another layer for "
                    "one of them."
                )
            found[layer] = name
        return tuple(found)

    def _build(self, names: Sequence[str]) -> None:
        while self._form.rowCount():
            self._form.removeRow(0)
        self._names, self.rows = tuple(names), []
        for name in names:
            row = ComboBox(choices=lambda _: [(NONE, None), *((a.name, a) for a in self._layers)])
            row.tooltip = f"The layer that shows the channel {name}"
            narrowed(row.native)
            row.changed.connect(lambda _: self.changed.emit())
            self.rows.append(row)
            self._form.addRow(name, row.native)

    def _assign(self, image: Image, keep: bool) -> None:
        """Choose the layers on the grid of ``image`` whose names stand for the channels."""
        grid, chosen = grid_of(image), self.chosen if keep else ()
        near = [a for a in self._layers if a not in chosen and _equal(grid_of(a), grid)]
        found = assign_channels(self._names, [layer.name for layer in near], image.name)
        for row, index in zip(self.rows, found, strict=True):
            if not keep or row.value is None:
                with row.changed.blocked():
                    row.value = None if index is None else near[index]


def _equal(one: tuple, other: tuple) -> bool:
    """Return whether two grids have one shape and coincide."""
    return one[0] == other[0] and np.allclose(one[2], other[2], rtol=0, atol=1e-3)
