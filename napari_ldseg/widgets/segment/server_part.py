"""The server to compute on: its address, its password if it has one, and its models once it is connected."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSettings, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton, QWidget

from ...remote.connection import PasswordNeeded
from ...remote.server import Server
from ..common.latest import Latest

ADDRESS_KEY = "server_address"
Connected = tuple[Server, dict[str, Path]]


class ServerPart(QWidget):
    """Hidden until a server is to be used. The address is remembered, the password is not.

    Attributes
    ----------
    server, models
        The connected server and the files of its models; None and empty without.
    """

    changed = Signal()
    failed = Signal(str)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.server: Server | None = None
        self.models: dict[str, Path] = {}
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self._work = Latest()
        self.address = QLineEdit(str(self._settings.value(ADDRESS_KEY) or ""))
        self.address.setPlaceholderText("https://ldseg.example.org")
        self.address.setToolTip("The address of a server that napari-ldseg serve has started")
        self.password = QLineEdit()
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self.password.setPlaceholderText("password")
        self.connect_button = QPushButton("Connect")
        self._state = QLabel()
        self._state.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.address, 1)
        row.addWidget(self.connect_button)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow(row)
        layout.addRow(self.password)
        layout.addRow(self._state)
        self.password.hide()
        self.connect_button.clicked.connect(self._on_connect)
        self.address.returnPressed.connect(self._on_connect)
        self.password.returnPressed.connect(self._on_connect)
        self.hide()

    def shut_down(self) -> None:
        """Let the server forget the scan."""
        self._work.drop()
        if self.server is not None:
            self.server.close()
        self.server, self.models = None, {}

    def _on_connect(self) -> None:
        self.shut_down()
        self._show(f"Connecting to {self.address.text()} …", connecting=True)
        self.changed.emit()
        self._work.start(
            connected,
            self.address.text(),
            self.password.text(),
            done=self._on_connected,
            failed=self._on_failed,
        )

    def _on_connected(self, found: Connected) -> None:
        self.server, self.models = found
        self._settings.setValue(ADDRESS_KEY, self.address.text())
        many = len(self.models)
        self._show(f"Connected: {many} model{'s' if many != 1 else ''}.")
        self.changed.emit()

    def _on_failed(self, error: Exception) -> None:
        self._show("")
        if isinstance(error, PasswordNeeded):
            self.password.show()
            self.password.setFocus()
        self.failed.emit(str(error))

    def _show(self, text: str, connecting: bool = False) -> None:
        self._state.setText(text)
        self._state.setVisible(bool(text))
        self.connect_button.setEnabled(not connecting)


def connected(address: str, password: str) -> Connected:
    """Return the server at ``address`` and its models. Raises LDSegError."""
    server = Server(address, password)
    return server, server.models()
