"""The client: the models of a server, and runs on it that look like runs on this computer."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ..checkpoint.header import write_header
from ..checkpoint.metadata import Metadata
from ..errors import LDSegError
from ..inference.progress import Progress, RunSettings
from ..inference.region import Region
from ..scans.scan import Scan
from .connection import Address, Gone, Line, Lost, in_thread
from .content import progress_from, run_fields, scan_message
from .wire import FOREIGN, Message, pack, unpack

ATTEMPTS = 3
SECONDS_BEFORE_RETRY = 2.0
MODEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,149}")
MAX_MODELS = 500
ENOUGH = 2**20  # bytes of arrays in a reply that has none to speak of
BYTES_PER_VOXEL = (
    16  # of a view: the labels, three maps of four bytes, the runner-up, whether it is labelled
)


class Server:
    """A server with its models; it keeps one scan there at a time, until another one or ``close``.

    Parameters
    ----------
    url
        Such as ``https://ldseg.example.org``; ``http`` only on this computer.
    password
        It is kept in memory only.

    Raises
    ------
    LDSegError
        If ``url`` is not such an address.
    """

    def __init__(self, url: str, password: str = ""):
        self._address = Address(url.strip().rstrip("/"), password)
        self._folder = tempfile.TemporaryDirectory(prefix="napari-ldseg-")
        self._sent: tuple[str, str] | None = (
            None  # the digest of the scan, and the session that has it
        )

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._address.name

    @property
    def url(self) -> str:
        """Its address."""
        return self._address.url

    def models(self, stopped: Callable[[], bool] = lambda: False) -> dict[str, Path]:
        """Return its models: files that have the metadata of each, but no weights.

        Raises
        ------
        LDSegError
            If it does not answer or has none.
        """
        try:
            (message,) = in_thread(self._address, partial(_message, "GET", "ldseg/models"), stopped)
        except Lost as error:
            raise self._no_answer() from error
        except ValueError as error:  # stopped
            raise LDSegError("Not connected.") from error
        listed = message.fields.get("models")
        if not isinstance(listed, dict) or len(listed) > MAX_MODELS:
            raise LDSegError(FOREIGN)
        models = {}
        for name, metadata in listed.items():
            try:
                known = Metadata.model_validate_json(json.dumps(metadata))
            except ValidationError:
                continue  # of a newer version
            if MODEL.fullmatch(name):
                models[name] = Path(self._folder.name) / f"{name}.safetensors"
                write_header(models[name], known)
        if not models:
            raise LDSegError(f"{self.name} has no model that this version can use.")
        return models

    def run(
        self,
        model: Path,
        metadata: Metadata,
        scan: Scan,
        region: Region,
        settings: RunSettings,
        *,
        focus: tuple[float, ...] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        """Segment ``region`` of ``scan`` there; yield the progress as ``inference.running.run`` does.

        The scan is sent once. When ``stopped``, the connection is closed, and the last view is the result. A
        connection that breaks is made again twice, and the run then starts anew with the same samples.

        Parameters
        ----------
        model, metadata
            One of ``models``, and what it says.
        scan, region, settings, focus
            As in ``inference.running.run``.
        stopped
            Asked ten times a second.

        Raises
        ------
        LDSegError
            If the server refuses or fails, or does not answer any more.
        """
        latest, digest = Progress(""), _digest(scan)
        shape = tuple(b - a for a, b in zip(region.start, region.stop, strict=True))
        classes = len(metadata.classes)

        def once(line: Line) -> Iterator[Progress]:
            response = yield from self._begun(line, model.stem, scan, digest, asked)
            most = BYTES_PER_VOXEL * math.prod(shape) + ENOUGH
            yield from self._progress(
                response, partial(progress_from, shape=shape, classes=classes), most
            )

        def asked(session: str) -> bytes:
            return json.dumps(run_fields(session, region, settings, focus)).encode()

        for attempt in range(ATTEMPTS):
            try:
                for progress in in_thread(self._address, once, stopped):
                    if _samples(progress) < _samples(latest):  # after a retry
                        progress = replace(progress, view=None)
                    elif progress.view is not None:
                        latest = progress
                    yield progress
                    if progress.last:
                        return
                if stopped():
                    yield replace(latest, last=True)
                    return
                raise Lost  # it ended without the last view
            except Lost as error:
                if attempt + 1 == ATTEMPTS:
                    raise self._no_answer(_samples(latest)) from error
            yield replace(
                latest, message=f"The connection to {self.name} was lost; trying again …", view=None
            )
            end = time.monotonic() + SECONDS_BEFORE_RETRY
            while not stopped() and time.monotonic() < end:
                time.sleep(0.05)

    def close(self) -> None:
        """Let the server forget the scan, without waiting long for it."""
        sent, self._sent = self._sent, None
        self._folder.cleanup()
        if sent is None:
            return
        end = time.monotonic() + 1.0
        forget = partial(_message, "DELETE", f"ldseg/scan/{sent[1]}")
        with suppress(Lost, LDSegError):  # then it expires there
            for _ in in_thread(self._address, forget, lambda: time.monotonic() > end):
                pass

    def _begun(
        self,
        line: Line,
        model: str,
        scan: Scan,
        digest: str,
        asked: Callable[[str], bytes],
    ) -> Generator[Progress, None, HTTPResponse]:
        """Begin a run; send the scan first if the server does not have it (any more). Return the reply."""
        for again in (False, True):
            if again or self._sent is None or self._sent[0] != digest:
                yield Progress(f"Sending the image to {self.name} …")
                self._send(scan, digest, line)
            assert self._sent is not None
            try:
                return line.ask("POST", f"ldseg/sample/{model}", asked(self._sent[1]))
            except Gone:
                if again:
                    raise
        raise AssertionError

    def _progress(
        self, response: HTTPResponse, read: Callable[[Message], Progress], most: int
    ) -> Iterator[Progress]:
        """Yield the progress that comes, until the last."""
        while True:
            message = _next(response, most)
            if "error" in message.fields:
                raise LDSegError(f"{self.name}: {message.fields['error']}")
            if message.fields:
                progress = self._named(read(message))
                yield progress
                if progress.last:
                    return

    def _named(self, progress: Progress) -> Progress:
        """Return ``progress`` with the server in its provenance."""
        view = progress.view
        if view is None or view.summary is None:
            return progress
        provenance = {**view.summary["provenance"], "server": self.url}
        return replace(
            progress, view=replace(view, summary={**view.summary, "provenance": provenance})
        )

    def _send(self, scan: Scan, digest: str, line: Line) -> None:
        former, self._sent = self._sent, None
        if former is not None:
            with suppress(Gone):
                line.ask("DELETE", f"ldseg/scan/{former[1]}").read()
        body = pack(scan_message(scan), line.check)
        message = _next(line.ask("PUT", "ldseg/scan", body), ENOUGH)
        session = str(message.fields.get("session", ""))
        if not MODEL.fullmatch(session):
            raise LDSegError(FOREIGN)
        self._sent = (digest, session)

    def _no_answer(self, samples: int = 0) -> LDSegError:
        if not samples:
            return LDSegError(
                f"{self.name} does not answer; check the address and that the server runs, then try again."
            )
        return LDSegError(
            f"The connection to {self.name} was lost after {samples} samples; the layers have them. Press Segment "
            "to try again."
        )


def _message(method: str, path: str, line: Line) -> Iterator[Message]:
    yield _next(line.ask(method, path), ENOUGH)


def _next(response: HTTPResponse, most: int) -> Message:
    try:
        return unpack(response.read, most)
    except (OSError, EOFError, HTTPException, ValueError) as error:
        raise Lost from error


def _samples(progress: Progress) -> int:
    view = progress.view
    return 0 if view is None or view.summary is None else int(view.summary.get("samples", 0))


def _digest(scan: Scan) -> str:
    """Return what tells this very scan from others."""
    array = np.ascontiguousarray(scan.array)
    geometry = [array.dtype.str, array.shape, scan.affine.tolist(), scan.channels, scan.calibrated]
    digest = hashlib.sha256(repr([*geometry, scan.name, scan.flat, scan.modality]).encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
