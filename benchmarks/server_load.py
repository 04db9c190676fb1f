"""Many clients at a server on this computer: is any request lost or mixed up, does its memory grow, what does it cost.

python benchmarks/server_load.py [--clients 50] [--requests 500] [--report FILE]

Needs the extra ``server``. Every reply is compared with a local run: first those of requests as MONAI Label's clients
send them, then of as many by napari's client, which sends its image each time. Cost is the time from sending a
request to having its labels, minus the time of the sampling in it, measured with one client; for napari's stream, which
sends its samples on the way, minus the time of the same run in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from email.parser import BytesParser
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil

from napari_ldseg import LDSegError, bundled_checkpoints, load_checkpoint, read_scan, segment
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.inference.progress import Progress, RunSettings
from napari_ldseg.inference.region import full_region
from napari_ldseg.inference.running import run
from napari_ldseg.remote.server import Server

MODEL = "echo-phantom"
ROOT = Path(__file__).parents[1]
SCAN = ROOT / "sample_data" / "echo_phantom.nii.gz"
VOLUME, VOLUME_MODEL = ROOT / "sample_data" / "mri_phantom.nii.gz", "mri-phantom"
IMAGES = 10  # different ones
STARTING_SECONDS = 600
REPEATS = 5


def main() -> None:
    """Start a server, load it, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = make_images(folder / "studies")
        process, url = start(folder)
        try:
            found = {
                "seconds of cost, one image of 512 x 512": cost(url, "large", MODEL),
                "seconds of cost, one volume": cost(url, "volume", VOLUME_MODEL),
                "of napari's stream, one image": stream_cost(
                    url, folder / "studies/large.nii.gz", MODEL
                ),
                "of napari's stream, one volume": stream_cost(url, VOLUME, VOLUME_MODEL),
                "MONAI Label's clients": load(
                    process, partial(ask, url, expected), options.clients, options.requests
                ),
                "napari's clients": load(
                    process,
                    partial(ask_as_napari, url, folder / "studies", expected),
                    options.clients,
                    options.requests,
                ),
            }
        finally:
            process.terminate()
            process.wait()
    text = json.dumps(found, indent=1)
    print(text)
    if options.report:
        options.report.write_text(text + "\n")


def make_images(folder: Path) -> list[bytes]:
    """Write different images, one of 512 x 512 and a volume; return the labels of the first ones, made here."""
    folder.mkdir()
    image = nib.load(SCAN)
    data = np.asarray(image.dataobj)
    data = data.reshape((*data.shape[:2], -1))[..., :1]
    checkpoint = load_checkpoint(bundled_checkpoints()[MODEL])
    expected = []
    for number in range(IMAGES):
        path = folder / f"image-{number}.nii.gz"
        shifted = np.roll(data, 3 * number, axis=0)
        nib.save(nib.Nifti1Image(shifted, image.affine, image.header), path)
        labels = segment(checkpoint, read_scan(path), 1, seed=number, device="cpu").labels
        expected.append(labels.tobytes())
    factors = [-(-512 // n) for n in data.shape[:2]]
    large = np.kron(data, np.ones((*factors, 1), data.dtype))[:512, :512]
    nib.save(nib.Nifti1Image(large, image.affine / max(factors)), folder / "large.nii.gz")
    (folder / "volume.nii.gz").write_bytes(VOLUME.read_bytes())
    return expected


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder: Path, *options: str, work: str = "work") -> tuple[subprocess.Popen, str]:
    """Start a server on the images in ``folder``; return it and its address."""
    port = free_port()
    command = [sys.executable, "-m", "napari_ldseg", "serve", str(folder / "studies")]
    command += ["--port", str(port), "--work", str(folder / work), "--device", "cpu", *options]
    log = (folder / f"{work}.log").open("w")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + STARTING_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{url}/info/").read()
            return process, url
        except urllib.error.HTTPError:  # it wants a password
            return process, url
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(Path(log.name).read_text()) from None
            time.sleep(0.5)


def infer(url: str, image: str, model: str, **params: int) -> tuple[bytes, dict]:
    """Ask for a segmentation; return the file of the labels and the parameters of the reply."""
    boundary = "xxxx-part-xxxx"
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n'
    body += f"{json.dumps(params)}\r\n--{boundary}--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    address = f"{url}/infer/{model}?image={image}"
    request = urllib.request.Request(address, body.encode(), headers)
    with urllib.request.urlopen(request) as reply:
        kind, content = reply.headers["Content-Type"], reply.read()
    message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    params_part, image_part = message.get_payload()
    return image_part.get_payload(decode=True), json.loads(params_part.get_payload(decode=True))


def cost(url: str, image: str, model: str) -> float:
    """Return the median seconds that a request takes beside its sampling."""
    infer(url, image, model, samples=1)
    found = []
    for _ in range(REPEATS):
        began = time.monotonic()
        _, params = infer(url, image, model, samples=1)
        found.append(time.monotonic() - began - params["latencies"]["infer"])
    return round(statistics.median(found), 3)


def stream_cost(url: str, path: Path, name: str) -> dict[str, float]:
    """Return what a run of 10 samples costs more than here, medians: the first one of a client, which sends the image
    while the server has another model in memory, and the next one.
    """
    scan, checkpoint = read_scan(path), load_checkpoint(bundled_checkpoints()[name])
    region, settings = full_region(scan), RunSettings(10, None, 0)
    other = ("large", MODEL) if name != MODEL else ("volume", VOLUME_MODEL)
    there: list[list[float]] = []
    here = []
    for _ in range(REPEATS):
        infer(url, *other, samples=1)
        with closing(Server(url)) as server:
            model = server.models()[name]
            metadata = read_metadata(model)
            steps = (server.run(model, metadata, scan, region, settings) for _ in range(2))
            there.append([seconds_of(one) for one in steps])
        here.append(seconds_of(run(checkpoint, scan, region, settings, device="cpu")))
    local = statistics.median(here)
    first, later = (statistics.median(some) - local for some in zip(*there, strict=True))
    return {"seconds here": round(local, 3), "first": round(first, 3), "later": round(later, 3)}


def seconds_of(steps: Iterator[Progress]) -> float:
    """Return the seconds until the last of ``steps``."""
    began = time.monotonic()
    for _ in steps:
        pass
    return time.monotonic() - began


def load(process: subprocess.Popen, ask: Callable[[int], str], clients: int, requests: int) -> dict:
    """Let the clients ask at the same time; count the outcomes and watch the server's memory."""
    counts = {"right": 0, "wrong": 0, "lost": 0}
    guard, memory = threading.Lock(), []
    left = iter(range(requests))

    def client() -> None:
        while True:
            with guard:
                number = next(left, None)
                if number is not None and number % 10 == 0:
                    memory.append(psutil.Process(process.pid).memory_info().rss / 2**20)
            if number is None:
                return
            outcome = ask(number % IMAGES)
            with guard:
                counts[outcome] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    half = len(memory) // 2
    return {
        "clients": clients,
        "requests": requests,
        **counts,
        "seconds": round(time.monotonic() - began, 1),
        "server MiB, first tenth of the requests": round(max(memory[: max(1, len(memory) // 10)])),
        "server MiB, largest of the first half": round(max(memory[:half])),
        "server MiB, largest of the second half": round(max(memory[half:])),
    }


def ask(url: str, expected: list[bytes], number: int) -> str:
    """Let the server segment an image that it has; compare the labels with those of a local run."""
    try:
        labels, params = infer(url, f"image-{number}", MODEL, samples=1, seed=number)
    except OSError:
        return "lost"
    same = labels_in(labels) == expected[number] and params["provenance"]["seed"] == number
    return "right" if same else "wrong"


def ask_as_napari(url: str, folder: Path, expected: list[bytes], number: int) -> str:
    """Send an image and let its segmentation be streamed; compare the labels with those of a local run."""
    scan = read_scan(folder / f"image-{number}.nii.gz")
    try:
        with closing(Server(url)) as server:
            model = server.models()[MODEL]
            steps = server.run(
                model, read_metadata(model), scan, full_region(scan), RunSettings(1, None, number)
            )
            view = [step.view for step in steps if step.view is not None][-1]
    except LDSegError as error:
        print(error, file=sys.stderr)
        return "lost"
    return "right" if view.labels.tobytes() == expected[number] else "wrong"


def labels_in(content: bytes) -> bytes:
    """Return the voxels of a NIfTI file of labels in the order of a local run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.nii.gz"
        path.write_bytes(content)
        return np.asarray(read_scan(path).array).astype(np.uint8).tobytes()


if __name__ == "__main__":
    main()
