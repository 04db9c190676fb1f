"""The proxy of docs/how-to/server.md for real: TLS in front of two servers, used by MONAI Label's client and by napari's.

python benchmarks/server_proxy.py

Needs the extra ``server``, and nginx and openssl. nginx gets the configuration that the page shows, with ports of its
own and a certificate that is made for the occasion, and both servers get a password. Printed is what was compared
and measured.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException
from server_load import MODEL, ROOT, SCAN, free_port, start

from napari_ldseg import LDSegError, bundled_checkpoints, load_checkpoint, read_scan, segment
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.inference.progress import RunSettings
from napari_ldseg.inference.region import full_region
from napari_ldseg.remote.server import Server
from napari_ldseg.scans.files import read_labels

PAGE = ROOT / "docs" / "how-to" / "server.md"
PASSWORD = "for this benchmark only"
SAMPLES, SEED, REPEATS = 3, 5, 3


def main() -> None:
    """Start nginx and two servers, and let the clients segment the sample."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "studies").mkdir()
        (folder / "studies" / "scan.nii.gz").write_bytes(SCAN.read_bytes())
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        processes, urls = [], []
        try:
            for _ in range(2):
                options = ["--password-file", str(secret)]
                process, url = start(folder, *options, work=f"work-{len(urls)}")
                processes.append(process)
                urls.append(url)
            proxy, port = start_nginx(folder, urls)
            processes.append(proxy)
            compare(f"https://localhost:{port}", folder)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def start_nginx(folder: Path, urls: list[str]) -> tuple[subprocess.Popen, int]:
    """Start nginx with the page's configuration in front of the servers; return it and its port."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    os.environ["SSL_CERT_FILE"] = str(certificate)  # the clients trust it
    port = free_port()
    server, upstream = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    servers = "".join(f" server {url.partition('://')[2]};" for url in urls)
    upstream = re.sub(r"( server [\d.:]+;)+", servers, upstream)
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/ldseg.pem", str(certificate)),
        ("/etc/ssl/ldseg.key", str(key)),
        ("ldseg.example.org", "localhost"),
        ("http://127.0.0.1:8000", "http://ldseg"),
    ):
        assert old in server, f"{PAGE.name} does not have {old} any more"
        server = server.replace(old, new)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/errors;\nevents {{}}\n"
        f"http {{ access_log off; {paths}\n{upstream}\n{server} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(configuration)], stderr=subprocess.PIPE)
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit((folder / "errors").read_text()) from None
            time.sleep(0.1)


def compare(url: str, folder: Path) -> None:
    """Print what the clients get at ``url`` in comparison with a local run."""
    local = segment(
        load_checkpoint(bundled_checkpoints()[MODEL]),
        read_scan(SCAN),
        SAMPLES,
        seed=SEED,
        device="cpu",
    )
    client = MONAILabelClient(url, tmpdir=str(folder))
    try:
        client.info()
        raise SystemExit("It answers without the password.")
    except MONAILabelClientException as error:
        print("MONAI Label's client without the password:", error.msg[:60])
    client.update_auth(client.auth_token("anybody", PASSWORD))
    file, _ = client.infer(MODEL, "scan", {"samples": SAMPLES, "seed": SEED})
    same = np.array_equal(read_labels(file).array, local.labels)
    print("MONAI Label's client with it: the labels of a local run:", same)
    for password in ("", PASSWORD):
        with closing(Server(url, password)) as server:
            try:
                model = server.models()[MODEL]
            except LDSegError as error:
                print("napari without the password:", error)
                continue
            runs = []
            for _ in range(REPEATS):
                began = time.monotonic()
                settings, region = RunSettings(SAMPLES, None, SEED), full_region(local.scan)
                steps = server.run(model, read_metadata(model), local.scan, region, settings)
                views = [step.view for step in steps]
                runs.append(round(time.monotonic() - began, 2))
            view = views[-1]
            same = all(
                np.array_equal(getattr(view, n), getattr(local, n)) for n in ("labels", "sample_sd")
            )
            print("napari with it: labels and sample SD of a local run:", same)
            print("seconds of the runs:", runs)
    del os.environ["SSL_CERT_FILE"]
    try:
        with closing(Server(url, PASSWORD)) as server:
            server.models()
        raise SystemExit("A certificate that nobody trusts is accepted.")
    except LDSegError as error:
        print("napari without trust in the certificate:", error)


if __name__ == "__main__":
    main()
