"""The streaming part of a server on a real port of this computer, for tests that have no MONAI Label."""

import asyncio
import shutil
import threading
import uuid
from contextlib import contextmanager

from napari_ldseg.server.access import Access
from napari_ldseg.server.catalogue import Catalogue
from napari_ldseg.server.guard import Guard
from napari_ldseg.server.jobs import JobQueue
from napari_ldseg.server.loaded import LoadedModel
from napari_ldseg.server.streaming import Streaming


class Served:
    """What MONAI Label's app gives to ``Streaming``; ``sent`` counts the scans that came."""

    device, most_bytes = "cpu", 2**24

    def __init__(self, models, folder):
        self.jobs, self.loaded = JobQueue(), LoadedModel()
        self._catalogue = Catalogue([models], bundled=False)
        self.folder, self.sent = folder, 0
        folder.mkdir()

    def models(self):
        return self._catalogue.models()

    def keep(self, file):
        session = str(uuid.uuid4())
        shutil.move(file, self.folder / session)
        self.sent += 1
        return session

    def kept(self, session):
        path = self.folder / session
        return path if path.exists() else None

    def drop(self, session):
        (self.folder / session).unlink(missing_ok=True)


class Listener:
    """HTTP/1.1 in front of an ASGI application, in a thread of its own; enough of it for one client.

    ``cut_after`` breaks each connection after so many pieces of a streamed reply.
    """

    def __init__(self, app, context=None):
        self.app, self.cut_after, self.requests = app, None, []
        self._context, self._ready = context, threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self):
        return f"http{'s' if self._context else ''}://localhost:{self.port}"

    def close(self):
        """Stop listening and break what is open."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self):
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        server = self._loop.run_until_complete(start)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self, reader, writer):
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader, writer):
        if not (first := await reader.readline()):
            return False
        method, path, _ = first.decode().split(" ")
        headers = []
        while (line := (await reader.readline()).strip()) != b"":
            name, _, value = line.partition(b":")
            headers.append((name.strip().lower(), value.strip()))
        self.requests.append((method, path))
        body = [await reader.readexactly(int(dict(headers).get(b"content-length", 0)))]
        pieces, chunked = 0, False

        async def receive():
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            await reader.read(1)
            return {"type": "http.disconnect"}

        async def send(event):
            nonlocal pieces, chunked
            if event["type"] == "http.response.start":
                chunked = b"content-length" not in dict(event["headers"])
                sent = [
                    *event["headers"],
                    *([(b"transfer-encoding", b"chunked")] if chunked else ()),
                ]
                lines = [b"HTTP/1.1 %d x" % event["status"], *(b"%s: %s" % pair for pair in sent)]
                writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
                return
            part, more = event.get("body", b""), event.get("more_body", False)
            if chunked:
                pieces += 1
                if self.cut_after is not None and pieces > self.cut_after:
                    writer.transport.abort()
                    raise ConnectionResetError
                part = b"%x\r\n%s\r\n" % (len(part), part) if part else b""
                part += b"" if more else b"0\r\n\r\n"
            writer.write(part)
            await writer.drain()

        client = writer.get_extra_info("peername")
        scope = {"type": "http", "method": method, "path": path, "query_string": b""}
        await self.app(scope | {"headers": headers, "client": client}, receive, send)
        return not chunked


@contextmanager
def running(models, folder, password=None, context=None):
    """Serve the checkpoints in the folder ``models``; give what is served, and the listener."""
    served = Served(models, folder)
    listener = Listener(Guard(Streaming(served), Access(password)), context)
    try:
        yield served, listener
    finally:
        listener.close()
        served.jobs.close()
