"""The Correct widget: the classes, the tools and their amounts. The corrector does the work."""

from __future__ import annotations

import napari
import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QDoubleSpinBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleRangeSlider
from superqt.utils import signals_blocked

from ..common.class_labels import classes_to_edit
from ..common.layers import RESULT_KEY
from ..common.qt import existing
from ..common.sizes import LabelSizes
from ..common.style import ERROR, WIDTH, narrowed, scrolled
from ..project.tab import Tab
from .class_dialog import ClassDialog
from .class_list import CLASS_KEYS, ClassList
from .corrector import SELECT, Corrector
from .tools import TOOLS, ToolButton

FOREIGN = (
    "These labels were not made with LDSeg, so your corrections are not saved in the project. Press Edit "
    "classes to save them there."
)
NEW_LABELS_TIP = "Define classes and paint them on an image, without a model"
GROUPS = (
    ("Pieces", ("keep_largest", "fill_holes", "erase_piece", "relabel_piece")),
    ("Shape", ("smooth", "grow", "shrink")),
    ("Slices", ("fill_between", "copy_previous", "copy_next")),
    ("Brush", ("threshold_brush",)),
)


class CorrectWidget(Tab):
    """Corrects the selected labels layer; each tool is one key and one undo step."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(napari_viewer)
        self.corrector = Corrector(napari_viewer, self)
        self.dialog: ClassDialog | None = None
        self._amounts_for: tuple | None = None
        self._build_controls()
        self._lay_out()
        self._connect()
        self._bind_keys()
        self._refresh()

    def shut_down(self) -> None:
        """Release the keys and the layers."""
        for key in self._keys():
            self.viewer.bind_key(key, None)
        self.sizes.watch(None)
        self.corrector.shut_down()

    def _build_controls(self) -> None:
        self.layer_name, self.note = QLabel(), QLabel()
        self.foreign = QLabel(FOREIGN)
        self.note.setStyleSheet(ERROR)
        for label in (self.layer_name, self.foreign, self.note):
            label.setWordWrap(True)
        self.new_labels = QPushButton("New labels …")
        self.edit_classes = QPushButton("Edit classes …")
        self.edit_classes.setToolTip("Add, rename, recolour or remove the classes of this layer")
        self.class_list = ClassList()
        self.sizes = LabelSizes(self)
        self.volume, self.slice_only = QRadioButton("volume"), QRadioButton("slice shown")
        self.volume.setChecked(True)
        self.scope = QButtonGroup(self)
        for button in (self.volume, self.slice_only):
            self.scope.addButton(button)
            button.setToolTip(
                "Where the tools for pieces and shape work, always in the time frame shown"
            )
        self.buttons = {name: ToolButton(tool) for name, tool in TOOLS.items()}
        self.smoothing, self.distance = QDoubleSpinBox(), QDoubleSpinBox()
        self.smoothing.setToolTip("How much to smooth: the SD of the Gaussian")
        self.distance.setToolTip("How far to grow or shrink")
        self.image = ComboBox(choices=lambda _: self.corrector.images())
        narrowed(self.image.native)
        self.image.tooltip = "The image whose intensities the threshold brush uses"
        self.range = QLabeledDoubleRangeSlider(Qt.Orientation.Horizontal)
        self.range.setEdgeLabelMode(QLabeledDoubleRangeSlider.EdgeLabelMode.NoLabel)
        # Room for the values above the handles at both ends.
        existing(self.range.layout()).setContentsMargins(16, 25, 16, 0)
        self.range.setToolTip("The threshold brush paints where the intensity is in this range")
        self.from_class = QPushButton("As in class")
        self.from_class.setToolTip("Use the range that holds 90 % of the voxels of the class")
        self.undo, self.redo = QPushButton("Undo"), QPushButton("Redo")
        self.undo.setToolTip("Undo the last stroke or tool. Key: Ctrl+Z.")
        self.redo.setToolTip("Redo the stroke or tool that was undone last. Key: Ctrl+Shift+Z.")
        self.straighten = QPushButton("Straighten")
        self.straighten.setToolTip("Add copies of the layer and its image on straight axes")

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.project_notice)
        column.addWidget(self.layer_name)
        column.addWidget(self.foreign)
        column.addWidget(self.note)
        column.addWidget(self.straighten)
        column.addLayout(_row(self.new_labels, self.edit_classes))
        column.addWidget(self.class_list)
        self.scope_row = QWidget()
        row = QHBoxLayout(self.scope_row)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (QLabel("Apply to"), self.volume, self.slice_only):
            row.addWidget(widget)
        row.addStretch(1)
        column.addWidget(self.scope_row)
        self.groups = {}
        for title, names in GROUPS:
            box = QGroupBox(title)
            grid = QGridLayout(box)
            grid.setContentsMargins(6, 8, 6, 6)
            grid.setSpacing(4)
            self.groups[title] = grid
            for i, name in enumerate(names):
                if title != "Shape":
                    grid.addWidget(self.buttons[name], i, 0, 1, 2)
            column.addWidget(box)
        shape = self.groups["Shape"]
        shape.addWidget(self.buttons["smooth"], 0, 0)
        shape.addWidget(self.smoothing, 0, 1)
        shape.addWidget(self.buttons["grow"], 1, 0)
        shape.addWidget(self.buttons["shrink"], 2, 0)
        shape.addWidget(self.distance, 1, 1, 2, 1)
        shape.setColumnStretch(0, 1)
        brush = self.groups["Brush"]
        brush.addWidget(self.image.native, 1, 0)
        brush.addWidget(self.from_class, 1, 1)
        brush.addWidget(self.range, 2, 0, 1, 2)
        brush.setColumnStretch(0, 1)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled(content), 1)
        # Outside the scroll area, so that the last message and Undo are always visible.
        foot = QVBoxLayout()
        foot.setContentsMargins(8, 0, 8, 8)
        foot.addWidget(self.status)
        foot.addLayout(_row(self.undo, self.redo))
        outer.addLayout(foot)
        content.setMinimumWidth(WIDTH - 16)

    def _connect(self) -> None:
        self.corrector.changed.connect(self._refresh)
        self.corrector.message.connect(self.status.show_message)
        for name, button in self.buttons.items():
            button.clicked.connect(lambda _=False, name=name: self._use(name))
        self.sizes.changed.connect(self._refresh_sizes)
        self.class_list.chosen.connect(self.corrector.choose)
        self.slice_only.toggled.connect(self._on_scope)
        self.smoothing.valueChanged.connect(self._on_amounts)
        self.distance.valueChanged.connect(self._on_amounts)
        self.image.changed.connect(self._on_image)
        self.range.valueChanged.connect(self._on_range)
        self.from_class.clicked.connect(self._on_from_class)
        self.undo.clicked.connect(self.corrector.undo)
        self.redo.clicked.connect(self.corrector.redo)
        self.new_labels.clicked.connect(self._on_new_labels)
        self.edit_classes.clicked.connect(self._on_edit_classes)
        self.straighten.clicked.connect(self.corrector.straighten)

    def _keys(self) -> list[str]:
        # On a labels layer plain digits choose napari's modes, and keys of the layer come first.
        return [*(tool.key for tool in TOOLS.values()), *(f"Ctrl+{n}" for n in CLASS_KEYS)]

    def _bind_keys(self) -> None:
        for name, tool in TOOLS.items():
            self.viewer.bind_key(tool.key, lambda _, name=name: self._use(name), overwrite=True)
        for number in CLASS_KEYS:
            self.viewer.bind_key(
                f"Ctrl+{number}", lambda _, n=number: self._choose_nth(n), overwrite=True
            )

    def _use(self, name: str) -> None:
        self.corrector.use(name)
        if self.corrector.armed == name == "threshold_brush" and self._range_is_default():
            found = self.corrector.typical_range()
            if found is not None:
                self.range.setValue(found)
        self._refresh_tools()  # a checkable button toggles itself when clicked

    def _refresh(self) -> None:
        layer = self.corrector.target
        self.layer_name.setText(SELECT if layer is None else f"Correcting <b>{layer.name}</b>")
        self.foreign.setVisible(layer is not None and self.project_state.labels.find(layer) is None)
        self.edit_classes.setEnabled(layer is not None and not layer.multiscale)
        self.new_labels.setEnabled(bool(self._images()))
        self.new_labels.setToolTip(
            NEW_LABELS_TIP
            if self._images()
            else "Open an image first: File > Open, or File > Open Sample > LDSeg"
        )
        self._refresh_amounts()
        self.class_list.show_classes(self.corrector.classes, self.corrector.value)
        self.sizes.watch(layer)
        self._refresh_sizes()
        self._refresh_tools()

    def _refresh_sizes(self) -> None:
        self.class_list.show_sizes(self.sizes.of_layer())

    def _refresh_tools(self) -> None:
        corrector = self.corrector
        for name, button in self.buttons.items():
            button.show_reason(corrector.reason(name))
            button.setChecked(corrector.armed == name)
        for step, count in zip((self.undo, self.redo), corrector.steps, strict=True):
            step.setEnabled(count > 0 and not corrector.busy)
        self.scope_row.setVisible(corrector.target is None or corrector.target.ndim >= 3)
        self.straighten.setVisible(corrector.oblique())
        # A reason that stops every tool is shown once, outside the tooltips.
        note = corrector.reason("keep_largest") if corrector.target is not None else ""
        self.note.setText(note)
        self.note.setVisible(bool(note))
        self.image.reset_choices()
        if self.image.value != corrector.brush.image:
            self._on_image(self.image.value)
        for widget in (self.image.native, self.from_class, self.range):
            widget.setVisible(self.image.value is not None)

    def _refresh_amounts(self) -> None:
        """Set amounts that suit the layer's voxels, once per layer."""
        layer, corrector = self.corrector.target, self.corrector
        if layer is None or layer.multiscale:
            return
        grid = (id(layer), corrector.unit, corrector.spacing)
        if grid == self._amounts_for:
            return
        self._amounts_for = grid
        finest = min(corrector.spacing[-2:])
        step = float(f"{finest:.1g}")
        decimals = max(1, int(np.ceil(-np.log10(step))))
        for box, voxels in ((self.smoothing, 2), (self.distance, 1)):
            box.setFixedWidth(120)
            box.setDecimals(decimals)
            box.setRange(step / 10, 1000 * step)
            box.setSingleStep(step)
            box.setSuffix(f" {corrector.unit}")
            # Rounded up, since less than a voxel would change nothing.
            box.setValue(np.ceil(round(voxels * finest * 10**decimals, 3)) / 10**decimals)
        self._on_amounts()

    def _on_amounts(self, value: float = 0) -> None:
        self.corrector.amounts.smoothing = self.smoothing.value()
        self.corrector.amounts.distance = self.distance.value()

    def _on_scope(self, slice_only: bool) -> None:
        self.corrector.amounts.slice_only = slice_only
        self._refresh_tools()

    def _on_image(self, image: Image | None) -> None:
        # The combo box holds proxies of the layers; the brush needs the layer itself.
        image = next((i for i in self.corrector.images() if i == image), None)
        self.corrector.brush.image = image
        if image is None:
            return
        low, high = image.contrast_limits_range
        integers = np.issubdtype(image.dtype, np.integer)
        with signals_blocked(self.range):
            self.range.setRange(float(low), float(high))  # type: ignore[arg-type]  # takes floats
            self.range.setDecimals(0 if integers else 2)
            self.range.setSingleStep(1 if integers else (high - low) / 1000)
        self.range.setValue(tuple(float(v) for v in image.contrast_limits))
        self._on_range(self.range.value())

    def _on_range(self, value: tuple[float, float]) -> None:
        self.corrector.brush.range = value

    def _on_from_class(self) -> None:
        found = self.corrector.typical_range()
        if found is None:
            self.show_error("The class has no voxels in this part yet; paint some first.")
        else:
            self.range.setValue(found)

    def _range_is_default(self) -> bool:
        image = self.corrector.brush.image
        return image is not None and np.allclose(self.range.value(), image.contrast_limits)

    def _choose_nth(self, number: int) -> None:
        values = list(self.corrector.classes)
        if number <= len(values):
            self.corrector.choose(values[number - 1])
        else:
            self.show_error(f"There is no class {number} in this layer.")

    def _images(self) -> list[Image]:
        """Return the images to annotate: the selected one first, then visible ones, the topmost first."""
        images = [
            layer
            for layer in reversed(list(self.viewer.layers))
            if isinstance(layer, Image) and RESULT_KEY not in layer.metadata
        ]
        active = self.viewer.layers.selection.active
        return sorted(images, key=lambda image: (image != active, not image.visible))

    def _on_new_labels(self) -> None:
        dialog = ClassDialog(self, "New labels", {}, self._images())
        dialog.accepted.connect(lambda: self.corrector.make_labels(dialog.image, dialog.classes))
        self._open(dialog)

    def _on_edit_classes(self) -> None:
        corrector, layer = self.corrector, self.corrector.target
        if layer is None:
            return
        classes, problem = classes_to_edit(layer, corrector.classes)
        highest = int(np.iinfo(layer.data.dtype).max)
        dialog = ClassDialog(
            self, f"Classes of {layer.name}", classes, [], corrector.count, highest, problem
        )
        dialog.accepted.connect(lambda: corrector.redefine(dialog.classes, dialog.moves))
        self._open(dialog)

    def _open(self, dialog: ClassDialog) -> None:
        self.dialog = dialog
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
