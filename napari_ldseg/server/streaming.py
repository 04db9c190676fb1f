"""What napari asks a server for: its models, keeping a scan, and a run on it whose progress is streamed (ASGI).

| request below ``/ldseg/`` | reply |
|---|---|
| ``GET models`` | the models with their metadata |
| ``PUT scan``, its body a scan | the ``session`` that keeps it |
| ``DELETE scan/SESSION`` | nothing; the scan is deleted |
| ``POST sample/MODEL``, its body JSON of ``remote.content.run_fields`` | the progress, message after message |

All are messages of ``remote.wire``. While there is nothing new, an empty one is sent every second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import tempfile
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..errors import LDSegError
from ..inference.progress import Progress, RunSettings
from ..inference.running import run
from ..remote.content import progress_message, region_from, scan_from
from ..remote.wire import Message, pack, unpack
from ..scans.scan import Scan
from ..utils.text import count_text
from .catalogue import Model
from .guard import Message as Event
from .guard import Receive, Send, answer_json
from .jobs import Busy, Job, JobQueue, check_cancelled
from .loaded import LoadedModel, evicted_when_out_of_memory
from .request import parse_request

PREFIX = "/ldseg/"
SECONDS_BETWEEN_MESSAGES = 1.0
SECONDS_TO_TAKE = 60.0  # that a client may need to send or take a piece
MAX_RUN_BYTES = 2**16
SESSION = re.compile(r"[0-9a-f-]{1,64}")
logger = logging.getLogger(__name__)


class Served(Protocol):
    """What the requests need of the app."""

    jobs: JobQueue
    loaded: LoadedModel
    device: str
    most_bytes: int

    def models(self) -> dict[str, Model]:
        """Return the models by name."""

    def keep(self, file: Path) -> str:
        """Keep a copy of ``file`` for a while; return the session that has it."""

    def kept(self, session: str) -> Path | None:
        """Return the file of a session; None if there is none (any more)."""

    def drop(self, session: str) -> None:
        """Delete the file of a session."""


class _Refused(Exception):
    """The request cannot be answered."""

    def __init__(self, status: int, reason: object):
        super().__init__(str(reason))
        self.status = status


class Streaming:
    """An ASGI application that answers everything below ``/ldseg/``."""

    def __init__(self, served: Served):
        self._served = served

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Answer a request."""
        what, _, name = scope["path"].partition(PREFIX)[2].partition("/")
        try:
            match scope["method"], what:
                case "GET", "models":
                    await _reply(send, await asyncio.to_thread(self._models))
                case "PUT", "scan":
                    await _reply(send, await self._keep(receive))
                case "DELETE", "scan" if SESSION.fullmatch(name):
                    await asyncio.to_thread(self._served.drop, name)
                    await _reply(send, Message())
                case "POST", "sample":
                    await self._sample(name, receive, send)
                case _:
                    raise _Refused(404, "There is no such page.")
        except _Refused as error:
            await answer_json(send, error.status, {"detail": str(error)})
        except Busy as error:
            await answer_json(send, 503, {"detail": str(error)})
        except LDSegError as error:
            await answer_json(send, 400, {"detail": str(error)})

    def _models(self) -> Message:
        """Return the models; which cases they were trained on is no business of the clients."""
        listed = {}
        for name, model in self._served.models().items():
            training = model.metadata.training.model_copy(update={"cases": {}})
            known = model.metadata.model_copy(update={"training": training, "domain": None})
            listed[name] = known.model_dump(mode="json")
        return Message({"models": listed})

    async def _keep(self, receive: Receive) -> Message:
        """Keep the scan that is sent; return its session."""
        with tempfile.TemporaryDirectory(prefix="ldseg-") as folder:
            path = Path(folder) / "scan.bin"
            with path.open("wb") as file:

                async def write(part: bytes) -> None:
                    await asyncio.to_thread(file.write, part)

                await _received(receive, write, self._served.most_bytes)
            await asyncio.to_thread(_kept_scan, path, self._served.most_bytes)
            return Message({"session": await asyncio.to_thread(self._served.keep, path)})

    async def _sample(self, name: str, receive: Receive, send: Send) -> None:
        """Queue a run and stream its progress; cancel it when the client goes or does not take it."""
        parts: list[bytes] = []

        async def add(part: bytes) -> None:
            parts.append(part)

        await _received(receive, add, MAX_RUN_BYTES)
        model = self._served.models().get(name)
        if model is None:
            raise LDSegError(f"There is no model {name} (any more); connect again.")
        try:
            asked = json.loads(b"".join(parts))
            session = str(asked["session"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LDSegError("The request is no run.") from error
        path = self._served.kept(session) if SESSION.fullmatch(session) else None
        if path is None or not path.is_file():
            raise _Refused(404, "The server has not kept the image; send it again.")
        news = _News(asyncio.get_running_loop())
        job = self._served.jobs.submit(partial(self._run, model, path, asked, news))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._stream(job, news, gone, send)
        finally:
            job.cancel()
            gone.cancel()

    async def _stream(self, job: Job, news: _News, gone: asyncio.Future, send: Send) -> None:
        done = asyncio.wrap_future(job.future)
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        done.add_done_callback(lambda future: news.changed.set())
        final = False
        while not final and not gone.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(news.changed.wait(), SECONDS_BETWEEN_MESSAGES)
            news.changed.clear()
            ended, progress = done.done(), news.take()
            if progress is not None:
                message, final = progress_message(progress), progress.last
                if ended:
                    news.changed.set()  # to say why, if this was not the last
            elif ended:
                message, final = _failure(done), True
            else:
                message = Message({} if news.begun else {"message": self._waiting(job)})
            body = await asyncio.to_thread(pack, message)
            event = {"type": "http.response.body", "body": body, "more_body": not final}
            try:
                await asyncio.wait_for(send(event), SECONDS_TO_TAKE)
            except TimeoutError:
                return

    def _waiting(self, job: Job) -> str:
        before = self._served.jobs.before(job)
        return f"Waiting: {count_text(before, 'request')} before this one …"

    def _run(self, model: Model, path: Path, asked: dict[str, Any], news: _News) -> None:
        """Do the run, in the thread of the queue."""
        news.begun = True
        scan = _kept_scan(path, self._served.most_bytes)
        numbers = {name: asked.get(name) for name in ("samples", "steps", "seed")}
        request = parse_request(numbers, [info.name for info in model.metadata.classes])
        settings = RunSettings(request.samples, request.steps or None, request.seed)
        try:
            region = region_from(asked["region"], scan.shape)
            focus = None if asked.get("focus") is None else tuple(map(float, asked["focus"]))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise LDSegError("The request's region is not in the image.") from error
        with evicted_when_out_of_memory(self._served.loaded, scan.name):
            checkpoint = self._served.loaded.get(model.path)
            for progress in run(
                checkpoint,
                scan,
                region,
                settings,
                device=self._served.device,
                focus=focus,
                complete_views=True,
            ):
                check_cancelled()
                news.put(progress)


HEADERS = [
    (b"content-type", b"application/octet-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy in front passes each message on at once
]


class _News:
    """The progress that was not sent yet, of which there is at most one: a slow client misses what is outdated."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.changed, self.begun = asyncio.Event(), False
        self._loop, self._guard = loop, threading.Lock()
        self._progress: Progress | None = None

    def put(self, progress: Progress) -> None:
        """Replace what was not sent, in any thread."""
        with self._guard:
            if progress.view is None and self._progress is not None:
                progress = replace(progress, view=self._progress.view)
            self._progress = progress
        with suppress(RuntimeError):  # the server is shutting down
            self._loop.call_soon_threadsafe(self.changed.set)

    def take(self) -> Progress | None:
        """Return what was not sent."""
        with self._guard:
            progress, self._progress = self._progress, None
        return progress


def _kept_scan(path: Path, most: int) -> Scan:
    """Return the scan in a file that a client has sent. Raises LDSegError if it is none or too large."""
    try:
        with path.open("rb") as file:
            return scan_from(unpack(file.read, most))
    except (OSError, EOFError) as error:
        raise LDSegError("The image did not arrive completely; send it again.") from error


def _failure(done: asyncio.Future) -> Message:
    """Return why a run ended without its last progress."""
    error = None if done.cancelled() else done.exception()
    if not isinstance(error, LDSegError):
        logger.error("A run failed", exc_info=error)
        error = LDSegError(f"The run failed: {type(error).__name__}: {error}")
    return Message({"error": str(error)})


async def _received(receive: Receive, use: Callable[[bytes], Awaitable[None]], most: int) -> None:
    """Pass the body of a request on piece by piece."""
    more = True
    while more:
        try:
            event = await asyncio.wait_for(receive(), SECONDS_TO_TAKE)
        except TimeoutError as error:
            raise _Refused(408, "The request did not arrive in time.") from error
        if event["type"] == "http.disconnect":
            raise _Refused(400, "The client has gone.")
        more, body = event.get("more_body", False), event.get("body", b"")
        most -= len(body)
        if most < 0:
            raise _Refused(413, "The request is too large.")
        await use(body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reply(send: Send, message: Message) -> None:
    body = await asyncio.to_thread(pack, message)
    headers = [*HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
