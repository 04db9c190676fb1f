"""MONAI Label's endpoints, but none of them holds up the others: inference in the queue, the rest in threads."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import pkgutil
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Protocol

import anyio
from anyio import CapacityLimiter
from fastapi import APIRouter, BackgroundTasks, Body, Depends, HTTPException
from fastapi.routing import APIRoute
from monailabel import endpoints
from monailabel.config import settings
from monailabel.endpoints.activelearning import sample
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.exception import MONAILabelException
from requests_toolbelt import MultipartEncoder
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...errors import LDSegError
from ..access import Access
from ..guard import Guard
from ..jobs import Busy, Cancelled, Job
from ..streaming import PREFIX, Streaming
from ..streaming import Served as Client
from ..uploads import safe_name, save_session, save_upload

SECONDS_BETWEEN_LOOKS = 0.25
RETRY_AFTER = {"Retry-After": "5"}
CLIENT_GONE = 499
PROXY = "monailabel.endpoints.proxy"
logger = logging.getLogger(__name__)


class Served(Client, Protocol):
    """What the endpoints need of the app."""

    access: Access

    def sessions(self) -> Any:
        """Return MONAI Label's sessions, None if they are off."""

    def image_path(self, image_id: str) -> Path:
        """Return the file or folder of an image of the datastore."""

    def segment(
        self,
        model: str,
        image: Path,
        params: dict[str, Any],
        folder: Path,
        label: Path | None,
        image_id: str,
    ) -> tuple[dict[str, Path], dict[str, Any]]:
        """Segment an image; return the files written to ``folder`` and the reply's parameters."""

    def begin_training(self, model: str, params: dict[str, Any]) -> dict[str, Any]:
        """Begin to train a model, or adopt a trained one; return MONAI Label's record of it."""

    def training_status(self, running: bool) -> Any:
        """Return MONAI Label's record of the last training, with its result."""


def install(app: Served) -> None:
    """Put the endpoints of ``app`` before those of MONAI Label's server in this process, and the guard before all."""
    from monailabel.app import app as api

    api.router.routes[:0] = _router(app).routes
    api.middleware_stack = Guard(api.middleware_stack, app.access, app.most_bytes)


def run_in_threads() -> None:
    """Let MONAI Label's endpoints, which wait without letting others run, do so in threads.

    To be called once, before ``monailabel.app`` is imported: older FastAPI copies the endpoints then.
    """
    for found in pkgutil.iter_modules(endpoints.__path__, f"{endpoints.__name__}."):
        router = getattr(importlib.import_module(found.name), "router", None)
        for route in getattr(router, "routes", ()):
            if isinstance(route, APIRoute) and inspect.iscoroutinefunction(route.endpoint):
                route.endpoint = _in_thread(route.endpoint)


def _in_thread(endpoint: Callable) -> Callable:
    """Return ``endpoint`` with its work in a thread, and with an error as a sentence.

    Only the proxy to the PACS runs several at a time; the datastore is not made for it.
    """
    limiter: list[CapacityLimiter] = []

    @wraps(endpoint)  # FastAPI reads the parameters of the original
    async def threaded(**values: Any) -> Any:
        for value in values.values():
            if isinstance(value, Request):
                await value.body()  # it can only be read here
        if not limiter:
            together = endpoint.__module__ == PROXY
            limiter.append(CapacityLimiter(16) if together else _one_at_a_time())
        try:
            return await anyio.to_thread.run_sync(
                lambda: asyncio.run(endpoint(**values)), limiter=limiter[0]
            )
        except Exception as error:
            for value in values.values():
                if isinstance(value, BackgroundTasks):  # they delete what was uploaded
                    await value()
            raise _http_error(error) from error

    return threaded


_limiters: list[CapacityLimiter] = []


def _one_at_a_time() -> CapacityLimiter:
    if not _limiters:
        _limiters.append(CapacityLimiter(1))
    return _limiters[0]


def _router(app: Served) -> APIRouter:
    user = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
    admin = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR, dependencies=[user])
    streaming = Streaming(app)

    @router.post("/infer/{model}")
    async def infer(
        model: str, request: Request, image: str = "", session_id: str = "", output: str = "all"
    ) -> Response:
        folder = Path(tempfile.mkdtemp(prefix="ldseg-"))
        try:
            return await _infer(app, model, request, image, session_id, output, folder)
        except Exception as error:
            raise _http_error(error) from error
        finally:
            await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)

    @router.post("/activelearning/{strategy}")
    async def next_sample(
        strategy: str, request: Request, params: Annotated[dict | None, Body()] = None
    ) -> Any:
        try:
            return await _result(app.jobs.submit(partial(sample, strategy, params)), request)
        except Exception as error:
            raise _http_error(error) from error

    @router.post("/train/")
    async def train_all() -> None:
        raise HTTPException(400, "Choose the model to train; not all of them suit the labels.")

    @router.post("/train/{model}", dependencies=[admin])
    async def train_one(model: str, params: Annotated[dict | None, Body()] = None) -> Any:
        try:
            begin = partial(app.begin_training, model, params or {})
            return await anyio.to_thread.run_sync(begin, limiter=_one_at_a_time())
        except Exception as error:
            raise _http_error(error) from error

    @router.get("/train/")
    async def train_status(check_if_running: bool = False) -> Any:
        try:
            return await run_in_threadpool(app.training_status, check_if_running)
        except Exception as error:
            raise _http_error(error) from error

    @router.put("/session/")
    async def create_session(request: Request, uncompress: bool = False, expiry: int = 0) -> Any:
        sessions = app.sessions()
        if sessions is None:
            raise HTTPException(406, "Session Feature is Not Enabled")
        form = await request.form()
        files = [(part.filename, part.file) for part in form.getlist("files") if _is_file(part)]
        unpacked = uncompress or str(form.get("uncompress", "")).lower() == "true"
        folder = Path(tempfile.mkdtemp(prefix="ldseg-"))
        try:
            image = await run_in_threadpool(save_session, files, folder, unpacked, app.most_bytes)
            add = partial(sessions.add_session, str(image), expiry, session_id=str(uuid.uuid4()))
            session_id, info = await run_in_threadpool(add)
        except Exception as error:
            raise _http_error(error) from error
        finally:
            await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
        return {"session_id": session_id, "session_info": info.to_json()}

    @router.api_route(PREFIX + "{rest:path}", methods=["GET", "PUT", "POST", "DELETE"])
    async def napari(rest: str) -> Response:
        return _Handed(streaming)

    return router


class _Handed(Response):
    """A reply that an ASGI application gives."""

    def __init__(self, application: Streaming):
        super().__init__()
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the application answer."""
        await self._application(scope, receive, send)


async def _infer(
    app: Served,
    model: str,
    request: Request,
    image: str,
    session_id: str,
    output: str,
    folder: Path,
) -> Response:
    """Answer a request for a segmentation, with the files of the request in ``folder``."""
    form = await request.form()
    params = json.loads(str(form.get("params") or "{}"))
    if not isinstance(params, dict):
        raise LDSegError("The request's params must be a JSON object.")
    params["dicom_seg"] = output == "dicom_seg"
    files = {}
    for name in ("file", "label"):
        part = form.get(name)
        if _is_file(part):
            (folder / name).mkdir()
            plain = safe_name(part.filename, f"{name}.nii.gz")
            save = partial(save_upload, part.file, folder / name, plain, app.most_bytes)
            files[name] = await run_in_threadpool(save)
    if "file" in files:
        path, image = files["file"], ""
    elif session_id:
        path, image = _session_image(app, session_id), ""
    elif image:
        path = await anyio.to_thread.run_sync(app.image_path, image, limiter=_one_at_a_time())
    else:
        raise LDSegError(
            "The request has no image: send a file, a session or the name of an image."
        )
    results = folder / "results"
    results.mkdir()
    work = partial(app.segment, model, path, params, results, files.get("label"), image)
    written, answered = await _result(app.jobs.submit(work), request)
    return await run_in_threadpool(_response, written, answered, output)


async def _result(job: Job, request: Request) -> Any:
    """Return what ``job`` returns; cancel it when the client goes."""
    future = asyncio.wrap_future(job.future)
    try:
        while not (await asyncio.wait({future}, timeout=SECONDS_BETWEEN_LOOKS))[0]:
            if await request.is_disconnected():
                raise Cancelled
        return future.result()
    finally:
        if not future.done():
            job.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wrap_future(job.future)


def _response(files: dict[str, Path], params: dict[str, Any], output: str) -> Response:
    """Return the reply in the form ``output``: json, image, dicom_seg, or all parts of it."""
    if output == "json":
        return Response(json.dumps(params), media_type="application/json")
    if output in ("image", "dicom_seg"):
        path = files["dicom_seg" if output == "dicom_seg" else "labels"]
        kind = "application/dicom" if output == "dicom_seg" else "application/octet-stream"
        attached = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return Response(path.read_bytes(), media_type=kind, headers=attached)
    # MONAI Label's own clients read the first file only.
    fields: dict[str, Any] = {"params": (None, json.dumps(params), "application/json")}
    for name, path in files.items():
        part = "image" if name == "labels" else name
        fields[part] = (
            f"{uuid.uuid4().hex}-{path.name}",
            path.read_bytes(),
            "application/octet-stream",
        )
    encoded = MultipartEncoder(fields=fields)
    return Response(encoded.to_string(), media_type=encoded.content_type)


def _session_image(app: Served, session_id: str) -> Path:
    sessions = app.sessions()
    session = sessions.get_session(session_id) if sessions is not None else None
    if session is None:
        raise HTTPException(404, f"There is no session {session_id}; send the image again.")
    return Path(session.image)


def _is_file(part: Any) -> bool:
    return isinstance(part, UploadFile)


def _http_error(error: Exception) -> HTTPException:
    """Return ``error`` as a status and a sentence."""
    if isinstance(error, AnyHTTPException):  # also of broken forms
        return HTTPException(error.status_code, error.detail, error.headers)
    if isinstance(error, Busy):
        return HTTPException(503, str(error), RETRY_AFTER)
    if isinstance(error, LDSegError):
        return HTTPException(400, str(error))
    if isinstance(error, MONAILabelException):
        return HTTPException(404, str(LDSegError(error.msg)))
    if isinstance(error, Cancelled):
        return HTTPException(CLIENT_GONE, "The client has gone.")
    if isinstance(error, ValueError | RecursionError):
        return HTTPException(400, f"The request is invalid: {LDSegError(error)}")
    logger.exception("A request failed")
    return HTTPException(
        500, f"The request failed: {LDSegError(f'{type(error).__name__}: {error}')}"
    )
