"""The choice of the device to compute on."""

from __future__ import annotations

from napari.qt.threading import create_worker
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QWidget

from ...utils.installed import can_compute


class DeviceChoice(QComboBox):
    """Automatic, the CPU and, after ``list_accelerators``, each accelerator of this machine.

    Empty where what computes is not installed.
    """

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._listed = not can_compute()
        if not self._listed:
            self.addItem("automatic", "auto")
            self.addItem("CPU", "cpu")

    def list_accelerators(self) -> None:
        """Find the accelerators in a worker thread, once."""
        if self._listed:
            return
        self._listed = True
        worker = create_worker(find_accelerators, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(self._add)
        # After the dock is drawn: importing torch, even in a thread, delays the window.
        QTimer.singleShot(0, worker.start)

    @property
    def name(self) -> str:
        """The chosen device as ``resolve_device`` takes it."""
        return self.currentData()

    def _add(self, accelerators: list[tuple[str, str]]) -> None:
        for position, (label, name) in enumerate(accelerators, start=2):  # after the CPU
            self.insertItem(position, label, name)


def find_accelerators() -> list[tuple[str, str]]:
    """Return the label and torch's name of each accelerator; imports torch."""
    import torch

    from ...inference.devices import available_devices

    names = [name for name in available_devices() if name != "cpu"]
    return [
        (f"GPU: {torch.cuda.get_device_name(n)}" if n.startswith("cuda") else "GPU (MPS)", n)
        for n in names
    ]
