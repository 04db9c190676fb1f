"""Who may use the server, and that nothing a client sends leaves its folder or grows without bounds."""

import asyncio
import base64
import io
import json
import zipfile

import pytest

from napari_ldseg.errors import LDSegError
from napari_ldseg.server import guard as guard_module
from napari_ldseg.server.access import Access
from napari_ldseg.server.guard import Guard
from napari_ldseg.server.uploads import safe_name, save_session, unpack

PASSWORD = "a long password"
LOCAL = {"host": "127.0.0.1:8000"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Do not wait after a wrong password."""
    monkeypatch.setattr(guard_module, "SECONDS_AFTER_WRONG_PASSWORD", 0)


def ask(guard, path="/info/", query="", client="127.0.0.1", body=b"", method="GET", **headers):
    """Send a request to ``guard``; return the status and the JSON of the reply."""
    sent = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": (client, 1234),
        "headers": [(k.encode(), v.encode()) for k, v in (LOCAL | headers).items()],
    }
    parts = [body[i : i + 100] for i in range(0, len(body or b""), 100)] or [b""]

    async def receive():
        if body is None:
            await asyncio.sleep(60)
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


async def apologetic(scope, receive, send):
    """An application that answers whatever goes wrong itself, as web frameworks do."""
    try:
        await reached(scope, receive, send)
    except Exception:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def reached(scope, receive, send):
    """Read the request, then answer 200."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def test_without_a_password_only_programs_on_this_computer_are_answered():
    guard = Guard(reached, Access())
    assert ask(guard)[0] == 200
    assert ask(guard, client="::1", host="localhost:8000")[0] == 200
    for others in (
        {"client": "10.0.0.7"},
        {"host": "evil.example"},  # a name that leads to this computer
        {"origin": "https://evil.example"},
    ):
        status, reply = ask(guard, **others)
        assert status == 403 and len(reply["detail"]) < 300
    assert ask(Guard(reached, Access(others_check=True)), client="10.0.0.7")[0] == 200
    allowed = Access(origins=("https://viewer.example",))
    assert ask(Guard(reached, allowed), origin="https://viewer.example")[0] == 200


def test_with_a_password_everybody_needs_it_or_a_token():
    guard = Guard(reached, Access(PASSWORD))
    remote = {"client": "10.0.0.7", "host": "server:8000"}

    def basic(password):
        return "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()

    assert ask(guard)[0] == 401
    assert ask(guard, **remote, authorization=basic("wrong"))[0] == 401
    assert ask(guard, **remote, authorization="Basic ?")[0] == 401
    assert ask(guard, **remote, authorization=basic(PASSWORD))[0] == 200
    assert ask(guard, "/auth/", **remote)[1]["enabled"]
    form = f"username=anna&password={PASSWORD}".replace(" ", "+").encode()
    status, token = ask(guard, "/auth/token", body=form, method="POST", **remote)
    assert status == 200
    bearer = f"bearer {token['access_token']}"
    assert ask(guard, **remote, authorization=bearer)[0] == 200
    assert ask(guard, "/auth/token/valid", **remote, authorization=bearer)[0] == 200
    assert ask(guard, "/auth/token/valid", **remote)[0] == 401
    assert ask(guard, **remote, authorization=bearer[:-1] + "x")[0] == 401
    assert ask(guard, "/auth/token", body=b"password=no", method="POST", **remote)[0] == 401
    old = Access(PASSWORD).token(PASSWORD, now=0)
    assert ask(guard, **remote, authorization=f"Bearer {old}")[0] == 401


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/datastore/image", "image=../../x"),
        ("/datastore/label", "image=a&tag=..%2F..%2Fx"),
        ("/infer/camus", "image=/etc/passwd"),
        ("/infer/camus", "session_id=.."),
        ("/session/..", ""),
        ("/proxy/dicom/wado/../../instances", ""),
        ("/infer/wsi/camus", ""),
        ("/reload", ""),
    ],
)
def test_names_that_leave_their_folder_are_refused(path, query):
    assert ask(Guard(reached, Access()), path, query)[0] in (400, 404)


def test_ordinary_names_are_not_refused():
    assert (
        ask(Guard(reached, Access()), "/infer/camus", "image=Patient 1 (left), 2.5&tag=final")[0]
        == 200
    )


@pytest.mark.parametrize("app", [reached, apologetic])
def test_a_request_has_a_largest_size_whatever_its_header_gives(app):
    guard = Guard(app, Access(), most=1000)
    assert ask(guard, body=b"x" * 1000)[0] == 200
    for headers in ({"content-length": "1001"}, {}, {"content-length": "3"}):
        assert ask(guard, body=b"x" * 1001, **headers)[0] == 413
    for length in ("\xb2", "-1", "", "9" * 5000):
        assert ask(guard, **{"content-length": length})[0] == 413


def test_headers_that_are_no_addresses_are_refused():
    guard = Guard(reached, Access())
    for headers in ({"host": "["}, {"host": ""}, {"origin": "http://["}, {"origin": "null"}):
        assert ask(guard, **headers)[0] == 403


@pytest.mark.parametrize("path", ["/infer/camus", "/auth/token"])
def test_a_client_that_sends_nothing_does_not_stay(path, monkeypatch):
    monkeypatch.setattr(guard_module, "SECONDS_TO_SEND", 0.05)
    given = "Basic " + base64.b64encode(f"anna:{PASSWORD}".encode()).decode()
    status, _ = ask(
        Guard(apologetic, Access(PASSWORD)), path, body=None, method="POST", authorization=given
    )
    assert status == 408


def test_a_websocket_is_closed():
    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(Guard(reached, Access())({"type": "websocket"}, None, send))
    assert sent == ["websocket.close"]


def zipped(files):
    """Return a ZIP archive of names and contents."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    content.seek(0)
    return content


def test_a_session_keeps_its_files_in_its_folder(tmp_path):
    folder = tmp_path / "session"
    folder.mkdir()
    files = [
        ("../../a.dcm", io.BytesIO(b"a")),
        ("..\\a.dcm", io.BytesIO(b"b")),
        (None, io.BytesIO()),
    ]
    image = save_session(files, folder, unpacked=False)
    assert [path.name for path in tmp_path.iterdir()] == ["session"]
    assert sorted(path.name for path in image.iterdir()) == ["1-a.dcm", "a.dcm", "file-2"]
    assert safe_name("...", "default") == safe_name("/", "default") == "default"


@pytest.mark.parametrize(
    "files",
    [
        *(
            {"../out.nii": b"x"},
            {"/out.nii": b"x"},
            {"bomb": bytes(2_000_000)},
            {"a/../../out": b"x"},
        ),
        {},
    ],
)
def test_an_archive_that_leaves_its_folder_or_is_too_large_is_refused(tmp_path, files):
    archive = tmp_path / "scan.zip"
    archive.write_bytes(zipped(files).getvalue())
    with pytest.raises(LDSegError) as error:
        unpack(archive, tmp_path / "unpacked", most=1_000_000)
    assert str(tmp_path) not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.zip"]


@pytest.mark.parametrize("kind", ["lzma", "encrypted"])
def test_an_archive_of_an_unusual_kind_is_refused_before_it_is_unpacked(tmp_path, kind):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA if kind == "lzma" else 0) as archived:
        archived.writestr("scan.nii", b"x" * 100)
    data = bytearray(content.getvalue())
    if kind == "encrypted":
        for start in (6, data.index(b"PK\1\2") + 8):
            data[start] |= 1
    archive = tmp_path / "scan.zip"
    archive.write_bytes(data)
    with pytest.raises(LDSegError, match=r"unusual way|is encrypted"):
        unpack(archive, tmp_path / "unpacked")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.zip"]


def test_an_archive_becomes_the_sessions_image(tmp_path):
    image = save_session([("s.zip", zipped({"a/1.dcm": b"1", "a/2.dcm": b"2"}))], tmp_path, True)
    assert sorted(path.name for path in image.rglob("*.dcm")) == ["1.dcm", "2.dcm"]
    assert not list(tmp_path.rglob("*.zip"))
    with pytest.raises(LDSegError, match="MiB"):
        save_session([("big", io.BytesIO(bytes(200)))], _new(tmp_path / "big"), False, most=100)


def _new(folder):
    folder.mkdir()
    return folder
