"""The whole chain of a department on this computer: PACS, server, MONAI Label's client, and the OHIF viewer in a browser.

python scripts/make_server_pictures.py SCAN.nii.gz --model hippocampus --output docs/images

Needs the extra ``server``, the programs Orthanc (with its DICOMweb plugin) and Chromium, and the package playwright. It
puts SCAN as a DICOM series into an Orthanc of its own, segments it with the client and compares the labels with a local
run, submits them and compares the DICOM Segmentation in Orthanc with them, and makes pictures of the viewer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from dicom_series import write_ct_series
from monailabel.client import MONAILabelClient
from playwright.sync_api import Page, sync_playwright

from napari_ldseg import bundled_checkpoints, load_checkpoint, read_scan, segment
from napari_ldseg.scans.files import read_labels

PATIENCE_SECONDS = 900
PLUGINS = "/usr/share/orthanc/plugins"
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run the chain; print what was compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--model", default="hippocampus")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = folder / "series"
        series.mkdir()
        image = nib.load(options.scan)
        files = write_ct_series(series, np.asarray(image.dataobj).astype(np.int16), image.affine)
        header = pydicom.dcmread(files[0], stop_before_pixels=True)
        pacs, pacs_url = start_orthanc(folder)
        server = None
        try:
            for file in files:
                ask(f"{pacs_url}/instances", file.read_bytes())
            server, url = start_server(folder, f"{pacs_url}/dicom-web")
            client = MONAILabelClient(url, tmpdir=str(folder))
            print("models:", ", ".join(client.info()["models"]))
            uid = header.SeriesInstanceUID
            labels = compare_labels(client, options.model, uid, series)
            next_case = client.next_sample("expected_error", {"model": options.model})
            print("next case:", next_case["id"] == uid, next_case["expected_error"])
            compare_segmentation(client, options.model, uid, labels, pacs_url)
            if not options.no_browser:
                options.output.mkdir(parents=True, exist_ok=True)
                send_exported(series, options.model, folder / "results", pacs_url)
                take_pictures(url, header.StudyInstanceUID, options.model, options.output)
        finally:
            for process in (server, pacs):
                if process is not None:
                    process.terminate()
                    process.wait()
            for log in folder.glob("*.log"):
                shutil.copy(log, Path(tempfile.gettempdir()) / f"make-server-pictures-{log.name}")


def compare_labels(client: MONAILabelClient, model: str, uid: str, series: Path) -> Path:
    """Segment the series with the client and here; return the client's file."""
    file, params = client.infer(model, uid, {"N": 4, "seed": 7})
    local = segment(
        load_checkpoint(bundled_checkpoints()[model]), read_scan(series), 4, seed=7, device="cpu"
    )
    same = np.array_equal(read_labels(file).array, local.labels)
    print("labels bit for bit as those of a local run:", same)
    print("expected error the same:", params["expected_error"] == local.expected_error())
    print(json.dumps({name: part["interval"] for name, part in params["classes"].items()}))
    return Path(file)


def compare_segmentation(
    client: MONAILabelClient, model: str, uid: str, labels: Path, pacs_url: str
) -> None:
    """Submit the labels as final; compare the Segmentation that Orthanc then has with them."""
    names = client.info()["models"][model]["labels"]
    info = [{"name": name, "idx": value, "model_name": model} for name, value in names.items()]
    client.save_label(uid, str(labels), tag="final", params={"label_info": info})
    query = {"Level": "Instance", "Query": {"Modality": "SEG"}}
    (found,) = json.loads(ask(f"{pacs_url}/tools/find", json.dumps(query).encode()))
    path = labels.with_name("from-orthanc.dcm")
    path.write_bytes(ask(f"{pacs_url}/instances/{found}/file"))
    dataset = pydicom.dcmread(path)
    named = [item.SegmentLabel for item in dataset.SegmentSequence]
    counts = dict.fromkeys(range(1, len(named) + 1), 0)
    for group, plane in zip(
        dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True
    ):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        counts[number] += int(np.count_nonzero(plane))
    expected = np.bincount(read_labels(labels).array.ravel(), minlength=len(named) + 1)[1:]
    print("segments in Orthanc:", named, list(counts.values()) == expected.tolist())


def send_exported(series: Path, model: str, results: Path, pacs_url: str) -> None:
    """Segment the series with the command line, and store its DICOM files in Orthanc."""
    command = [sys.executable, "-m", "napari_ldseg", "segment", str(series), "-o", str(results)]
    command += ["--model", model, "-n", "2", "--accelerator", "cpu", "--format", "dicom-seg"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment)
    for file in sorted(results.rglob("*.dcm")):
        print("exported:", file.name, pydicom.dcmread(file, stop_before_pixels=True).Modality)
        ask(f"{pacs_url}/instances", file.read_bytes())


def take_pictures(url: str, study: str, model: str, output: Path) -> None:
    """Open the study in OHIF, run the model from its panel, and save what the window shows."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        page.on("console", lambda message: print("browser:", message.text[:200]))
        page.goto(f"{url}/ohif/monai-label?StudyInstanceUIDs={study}")
        run_from_panel(page, url, model)
        page.screenshot(path=output / "server-ohif.png")
        page.goto(f"{url}/ohif/viewer?StudyInstanceUIDs={study}")
        page.get_by_text(re.compile("LDSeg|[Ss]egmentation")).last.wait_for()
        page.wait_for_timeout(8000)
        open_segmentation(page)
        page.screenshot(path=output / "server-ohif-seg.png")
        browser.close()


def run_from_panel(page: Page, url: str, model: str) -> None:
    """Connect the panel to the server, choose the model and run it."""
    address = page.locator("#monailabelServerURL")
    address.wait_for()
    page.wait_for_timeout(5000)  # the volume is loaded
    page.get_by_text("Confirm and Hide").click()
    address.fill(f"{url}/")
    page.locator(".settingsTable .actionButton").click()
    chooser = page.locator(".modelSelector select").first
    chooser.wait_for()
    page.wait_for_timeout(3000)  # the panel sets up its segments after a second
    chooser.select_option(model)
    with page.expect_response(re.compile("/infer/")) as answer:
        page.locator(".modelSelector .actionButton").first.click()
    print("reply to the viewer:", answer.value.status)
    page.wait_for_timeout(8000)


def open_segmentation(page: Page) -> None:
    """Open the study's newest segmentation from the list of series."""
    page.get_by_text(re.compile("Segmentation, ")).last.dblclick()
    page.wait_for_timeout(8000)
    yes = page.get_by_role("button", name="Yes")
    print("asked whether to open it:", yes.count() > 0)
    if yes.count():
        yes.first.click()
        page.wait_for_timeout(8000)
    page.mouse.move(850, 450)
    for _ in range(20):  # to the middle
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(200)
    page.wait_for_timeout(2000)


def start_orthanc(folder: Path) -> tuple[subprocess.Popen, str]:
    """Start an Orthanc with an empty storage; return it and its address."""
    port = free_port()
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": port,
        "DicomPort": free_port(),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [PLUGINS],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    process = started([program, str(folder / "orthanc.json")], folder / "orthanc.log")
    url = f"http://127.0.0.1:{port}"
    wait_for(f"{url}/system", process)
    return process, url


def start_server(folder: Path, studies: str) -> tuple[subprocess.Popen, str]:
    """Start the server for a PACS; return it and its address."""
    port = free_port()
    command = [sys.executable, "-m", "napari_ldseg", "serve", studies, "--port", str(port)]
    command += ["--work", str(folder / "work"), "--device", "cpu"]
    cache = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(folder / "cache")}
    process = started(command, folder / "server.log", cache)
    url = f"http://127.0.0.1:{port}"
    wait_for(f"{url}/info/", process)
    return process, url


def started(
    command: list[str], log: Path, variables: dict[str, str] | None = None
) -> subprocess.Popen:
    """Start a program whose output goes to ``log``."""
    file = log.open("w")
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | (variables or {})
    return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Wait until ``url`` answers."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            urllib.request.urlopen(url).read()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{url} does not answer") from None
            time.sleep(1)


def ask(url: str, body: bytes | None = None) -> bytes:
    """Return the reply of Orthanc."""
    with urllib.request.urlopen(urllib.request.Request(url, body)) as reply:
        return reply.read()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
