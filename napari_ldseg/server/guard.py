"""What stands before every request: who asks, how large it is, and whether a name would leave its folder (ASGI)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from .access import Access, Refusal
from .uploads import MAX_UPLOAD_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

NAMES = ("image", "id", "label", "tag", "session_id")  # parameters that become parts of paths
# What no model of this server needs, and what reads any file that a client names.
CLOSED = ("/infer/wsi", "/reload")
SECONDS_AFTER_WRONG_PASSWORD = 1.0
MAX_SIGN_IN_BYTES = 2**14
SECONDS_TO_SEND = 60.0  # that a client may need for the next piece of its request
TOO_SLOW = Refusal(408, "The request did not arrive in time.")


class _Ended(Exception):
    """Nothing more is read of the request."""


class Guard:
    """An ASGI application around another one.

    Parameters
    ----------
    app
        The application that answers what is not refused.
    access
        Who may use it. With a password, signing in at ``/auth/token`` is answered here.
    most
        Bytes that a request may have.
    """

    def __init__(self, app: App, access: Access, most: int = MAX_UPLOAD_BYTES):
        self._app, self._access, self._most = app, access, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":  # nothing here uses them
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if self._access.password is not None and scope["path"].startswith("/auth"):
            await self._sign_in(scope, receive, send)
            return
        client = scope.get("client")
        refusal = self._access.refusal(
            client[0] if client else None,
            headers.get("host", ""),
            headers.get("origin", ""),
            headers.get("authorization", ""),
        )
        refusal = refusal or bad_name(scope["path"], scope.get("query_string", b""))
        if refusal is None and not 0 <= announced(headers.get("content-length", "0")) <= self._most:
            refusal = self._too_large
        if refusal is not None:
            if refusal.status == 401 and headers.get("authorization"):
                await asyncio.sleep(SECONDS_AFTER_WRONG_PASSWORD)
            await _refuse(send, refusal)
            return
        await self._bounded(scope, receive, send)

    @property
    def _too_large(self) -> Refusal:
        allowed = f"{self._most / 2**20:.0f} MiB"
        return Refusal(413, f"The request is larger than the {allowed} that are allowed.")

    async def _bounded(self, scope: Message, receive: Receive, send: Send) -> None:
        """Call the application; refuse a body that turns out to be too large, or does not come."""
        left, started, complete = self._most, False, False
        problem: Refusal | None = None

        async def counted() -> Message:
            nonlocal left, complete, problem
            if complete:  # what comes now is that the client has gone, whenever that is
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), SECONDS_TO_SEND)
            except TimeoutError as error:
                problem = TOO_SLOW
                raise _Ended from error
            complete = not message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                problem = self._too_large
                raise _Ended
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            if problem is None or started:
                started = True
                await send(message)

        with suppress(_Ended):
            await self._app(scope, counted, noted)
        if problem is not None and not started:
            await _refuse(send, problem)

    async def _sign_in(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer as MONAI Label's clients expect it of ``/auth``."""
        path = scope["path"].rstrip("/")
        if path == "/auth":
            await answer_json(send, 200, {"enabled": True, "client_id": "", "realm": ""})
        elif path == "/auth/token" and scope["method"] == "POST":
            body = b""
            while len(body) <= MAX_SIGN_IN_BYTES:
                try:
                    message = await asyncio.wait_for(receive(), SECONDS_TO_SEND)
                except TimeoutError:
                    await _refuse(send, TOO_SLOW)
                    return
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    break
            fields = parse_qs(body[:MAX_SIGN_IN_BYTES].decode("utf-8", "replace"))
            token = self._access.token(fields.get("password", [""])[0])
            if token is None:
                await asyncio.sleep(SECONDS_AFTER_WRONG_PASSWORD)
                await answer_json(send, 401, {"detail": "The password is wrong."})
            else:
                await answer_json(send, 200, {"access_token": token, "token_type": "bearer"})
        else:
            headers = dict(scope["headers"])
            given = headers.get(b"authorization", b"").decode("latin-1")
            refusal = self._access.refusal(None, "", authorization=given)
            if refusal is not None:
                await _refuse(send, refusal)
            else:
                await answer_json(send, 200, {"username": "user"})


def announced(length: str) -> int:
    """Return the number in a ``Content-Length`` header; -1 if it is none."""
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else -1


def bad_name(path: str, query: bytes) -> Refusal | None:
    """Return why a request is refused for its path or one of its names; None if it is not."""
    if ".." in path.split("/") or "\\" in path or path.startswith(CLOSED):
        return Refusal(404, "There is no such page.")
    for name, values in parse_qs(query.decode("latin-1")).items():
        if name in NAMES and any(leaves_folder(value) for value in values):
            return Refusal(400, f"The parameter {name} must be a plain name, without a path.")
    return None


def leaves_folder(name: str) -> bool:
    """Return whether ``name``, joined to a folder, could be outside it or hidden in it."""
    return name.startswith(".") or any(part in name for part in ("/", "\\", "\0", ".."))


async def _refuse(send: Send, refusal: Refusal) -> None:
    await answer_json(send, refusal.status, {"detail": refusal.reason})


async def answer_json(send: Send, status: int, content: dict[str, Any]) -> None:
    """Answer a request with JSON."""
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="LDSeg"'))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
