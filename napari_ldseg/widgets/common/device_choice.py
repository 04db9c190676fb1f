"""The device to compute on, chosen from what this machine has."""

from __future__ import annotations

from napari.qt.threading import create_worker
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QWidget


class DeviceChoice(QComboBox):
    """Automatic, the CPU and, once ``find`` has looked, each accelerator."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.addItem("automatic", "auto")
        self.addItem("CPU", "cpu")
        self._asked = False

    def find(self) -> None:
        """Look for accelerators in a worker thread, once."""
        if self._asked:
            return
        self._asked = True
        worker = create_worker(list_accelerators, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(self._add)
        # Once the dock is drawn: importing torch, even in a thread, holds the window up.
        QTimer.singleShot(0, worker.start)

    @property
    def name(self) -> str:
        """The chosen device as ``resolve_device`` takes it."""
        return self.currentData()

    def _add(self, accelerators: list[tuple[str, str]]) -> None:
        for label, name in accelerators:
            self.addItem(label, name)


def list_accelerators() -> list[tuple[str, str]]:
    """Import torch and return (label, torch's name) of each accelerator."""
    import torch

    from ...inference.devices import available_devices

    names = [name for name in available_devices() if name != "cpu"]
    return [
        (f"GPU: {torch.cuda.get_device_name(n)}" if n.startswith("cuda") else "GPU (MPS)", n)
        for n in names
    ]
