"""One HTTP exchange in a thread of its own, so that whoever waits for it can stop at any time."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import LDSegError

SECONDS_TO_CONNECT = 10
SECONDS_OF_SILENCE = 30  # a server that works sends something every second
SECONDS_BETWEEN_LOOKS = 0.1
MAX_ERROR_BYTES = 2**16
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class PasswordNeeded(LDSegError):
    """The server wants a password, or another one."""


class Gone(LDSegError):
    """What was asked for is not there (any more)."""


class Lost(Exception):
    """The connection broke."""


@dataclass(frozen=True)
class Address:
    """Where a server is, and the password, which only leaves this computer encrypted.

    Raises
    ------
    LDSegError
        If ``url`` is no address, or not encrypted and of another computer.
    """

    url: str
    password: str = ""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and parts.port != 0
        except ValueError:
            valid = False
        if valid and "@" in parts.netloc:
            raise LDSegError("Leave the user and the password out of the address.")
        if not valid or not parts.hostname or parts.query or parts.fragment:
            raise LDSegError(
                f"{self.url or 'An empty text'} is no address of a server; write one such as "
                "https://ldseg.example.org."
            )
        if parts.scheme == "http" and parts.hostname not in LOCAL_NAMES:
            raise LDSegError(
                f"{self.url} is not encrypted, so everybody on the way could read the scan and the password; use "
                "an https address."
            )

    @property
    def name(self) -> str:
        """What to call the server in messages."""
        return urlsplit(self.url).netloc

    def connection(self) -> http.client.HTTPConnection:
        """Return an HTTP connection that is not opened yet."""
        parts = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        return kind(parts.hostname or "", parts.port, timeout=SECONDS_TO_CONNECT)

    def path(self, path: str) -> str:
        """Return ``path`` below the address."""
        return f"{urlsplit(self.url).path.rstrip('/')}/{path}"

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        if not self.password:
            return {}
        given = b64encode(f"napari:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {given}"}


class Line:
    """An open connection: requests on it, until ``close`` ends them from another thread."""

    def __init__(self, address: Address):
        self.address = address
        self._connection = address.connection()
        self._socket: socket.socket | None = None
        self._closed = threading.Event()

    def check(self) -> None:
        """Raise Lost if the line was closed."""
        if self._closed.is_set():
            raise Lost

    def ask(self, method: str, path: str, body: bytes = b"") -> http.client.HTTPResponse:
        """Send a request; return the reply if its status is 200.

        Raises
        ------
        LDSegError
            If the server refuses it, with its own words; PasswordNeeded and Gone for these reasons.
        Lost
            If the connection breaks.
        """
        name = self.address.name
        try:
            self.check()
            if self._connection.sock is None:
                self._connect()
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # it may refuse before all is sent
                self._connection.request(
                    method, self.address.path(path), body, self.address.headers()
                )
            response = self._connection.getresponse()
            if response.status == 200:
                return response
            detail = _detail(response.read(MAX_ERROR_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise Lost from error
        if response.status == 401:
            raise PasswordNeeded(
                f"{name} refuses the password; write the right one."
                if self.address.password
                else f"{name} needs a password."
            )
        if response.status == 404:
            detail = "" if detail == "Not Found" else detail  # of a page that nobody knows
            raise Gone(detail or f"{name} is no server of this plugin, or of an older version.")
        raise LDSegError(detail or f"{name} refuses the request (status {response.status}).")

    def close(self) -> None:
        """End whatever is under way."""
        self._closed.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Free the connection, in the thread that uses it."""
        self._connection.close()

    def _connect(self) -> None:
        name = self.address.name
        try:
            self._connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise LDSegError(
                f"The certificate of {name} cannot be trusted ({error.verify_message}); if it is your department's "
                "own, name its file in the variable SSL_CERT_FILE."
            ) from error
        except socket.gaierror as error:
            raise LDSegError(f"There is no computer called {name}; correct the address.") from error
        self._socket = self._connection.sock
        self._socket.settimeout(SECONDS_OF_SILENCE)
        self.check()


def in_thread(
    address: Address, work: Callable[[Line], Iterator[Any]], stopped: Callable[[], bool]
) -> Iterator[Any]:
    """Yield what ``work``, run in a thread with a line to ``address``, yields; end at once when ``stopped``.

    Raises what ``work`` raises.
    """
    line = Line(address)
    items: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=2)

    def put(kind: str, value: Any) -> None:
        while True:
            line.check()
            with suppress(queue.Full):
                items.put((kind, value), timeout=SECONDS_BETWEEN_LOOKS)
                return

    def do() -> None:
        with suppress(Lost):  # of a line that was closed: nobody listens
            try:
                for value in work(line):
                    put("value", value)
                put("end", None)
            except BaseException as error:
                put("error", error)
            finally:
                line.release()

    threading.Thread(target=do, name="server connection", daemon=True).start()
    try:
        while not stopped():
            try:
                kind, value = items.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        line.close()


def _detail(body: bytes) -> str:
    """Return the sentence in the reply to a request that was refused."""
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return str(detail) if isinstance(detail, str) else ""
