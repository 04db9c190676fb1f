"""``napari-ldseg serve``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LDSegError
from ..utils.atomic import make_writable
from ..utils.text import reason_of
from .console import plain_errors

NEEDS = (
    "MONAI Label is not installed here; make an environment for the server and run: pip install "
    "'napari-ldseg[server]'."
)
SECONDS_TO_ANSWER = 10
WORK = Path("~/.napari-ldseg-server")
NEEDS_PASSWORD = (
    "A server for other computers needs --password-file, or MONAI_LABEL_AUTH_ENABLE=true with an OpenID "
    "provider; without either leave --host away."
)


def serve(
    context: typer.Context,
    studies: Annotated[
        str, typer.Argument(help="The folder of the images, or the DICOMweb address of a PACS.")
    ],
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--models", "-m", help="A folder with more models; can be given several times."
        ),
    ] = None,
    work: Annotated[
        Path,
        typer.Option("--work", "-w", help="The server's own folder: sessions, logs, training."),
    ] = WORK,
    project: Annotated[
        Path | None, typer.Option(help="The project of what is trained here; by default in --work.")
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 to answer other computers.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    password_file: Annotated[
        Path | None, typer.Option(help="A file with the password that everybody needs.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    waiting: Annotated[int, typer.Option(min=1, help="How many requests may wait.")] = 64,
    max_upload_mib: Annotated[
        int, typer.Option(min=1, help="MiB that one request may have.")
    ] = 2048,
    bundled: Annotated[bool, typer.Option(help="Whether to offer the bundled models.")] = True,
) -> None:
    """Serve every model to 3D Slicer, OHIF and other clients of MONAI Label.

    A shortcut for monailabel start_server with the app of this package; what comes after -- goes to it
    unchanged, such as --ssl_keyfile and --ssl_certfile.

    Example: napari-ldseg serve studies/ --host 0.0.0.0 --password-file password.txt
    """
    with plain_errors():
        work = work.expanduser()
        if find_spec("monailabel") is None:
            raise LDSegError(NEEDS)
        local = host in ("127.0.0.1", "localhost", "::1")
        signed_in = os.environ.get("MONAI_LABEL_AUTH_ENABLE", "").lower() in ("true", "1")
        if password_file is not None:
            check_password(password_file)
        elif not local and not signed_in:
            raise LDSegError(NEEDS_PASSWORD)
        check_studies(studies)
        for folder in models or ():
            if not folder.is_dir():
                raise LDSegError(f"There is no folder {folder} with models; correct --models.")
        if device != "auto":
            from ..inference.devices import resolve_device

            resolve_device(device)
        app = prepare_app(work)
        settings = {
            "models": ",".join(str(folder.resolve()) for folder in models or ()),
            "project": str((project or work / "project").resolve()),
            "password_file": "" if password_file is None else str(password_file.resolve()),
            "device": device,
            "waiting": str(waiting),
            "max_upload_mib": str(max_upload_mib),
            "bundled": str(bundled).lower(),
        }
        command = [sys.executable, "-m", "monailabel.main", "start_server"]
        command += ["--app", str(app), "--studies", studies, "--host", host, "--port", str(port)]
        command += ["--uvicorn_app", "napari_ldseg.server.monai.asgi:app"]
        for name, value in settings.items():
            command += ["--conf", name, value] if value else []
        command += context.args
        environment = {"MONAI_LABEL_SESSION_PATH": str((work / "sessions").resolve())} | os.environ
        if os.name == "posix":  # the service manager's signals reach the server itself
            os.execve(command[0], command, environment)
        raise typer.Exit(subprocess.run(command, env=environment).returncode)


def check_studies(studies: str) -> None:
    """Raise LDSegError if ``studies`` is no folder, or a PACS that does not answer."""
    if not studies.startswith(("http://", "https://")):
        if not Path(studies).is_dir():
            raise LDSegError(f"There is no folder {studies}; make it, or correct its name.")
        return
    try:
        urllib.request.urlopen(f"{studies.rstrip('/')}/studies?limit=1", timeout=SECONDS_TO_ANSWER)
    except urllib.error.HTTPError:
        return  # the PACS answers, if only to ask for a password
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise LDSegError(f"The PACS {studies} does not answer: {reason_of(reason)}.") from error


def check_password(file: Path) -> None:
    """Raise LDSegError if ``file`` has no password that is long enough."""
    from ..server.access import SHORTEST_PASSWORD

    try:
        password = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LDSegError(
            f"The password file {file} cannot be read: {error.strerror or error}."
        ) from error
    except UnicodeDecodeError as error:
        raise LDSegError(f"The password file {file} is no text; write one in UTF-8.") from error
    if len(password) < SHORTEST_PASSWORD:
        raise LDSegError(
            f"The password in {file} is too short; write one of at least {SHORTEST_PASSWORD} characters."
        )


def prepare_app(work: Path) -> Path:
    """Make the server's folder, for its owner only, and return the app in it.

    MONAI Label writes into the app's folder, so it is a copy. Raises LDSegError.
    """
    app = work / "app"
    try:
        make_writable(work)
        work.chmod(0o700)
        shutil.copytree(
            Path(__file__).parents[1] / "server" / "app",
            app,
            ignore=shutil.ignore_patterns("__pycache__", "bin", "lib", "logs", "model"),
            dirs_exist_ok=True,
        )
    except OSError as error:
        raise LDSegError(
            f"{work} cannot be the server's folder: {error.strerror or error}; give another one after -w."
        ) from error
    return app.resolve()
