"""Fixtures for the browser tests: a served application of its own, Debian's Chromium, and what a person drops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mammolens import phantom
from mammolens.models.bundle import DEFAULT, MANIFEST, find

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ("--no-sandbox", "--disable-quic", "--disable-background-networking")
SECOND_MODEL = "second-reader"


@dataclass(frozen=True)
class Served:
    """A running `mammolens serve` on a home that was empty before.

    Attributes
    ----------
    address : str
    home : Path
    password : str
        The first administrator's, as printed once.
    log : Path
    """

    address: str
    home: Path
    password: str
    log: Path

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mammolens", *arguments],
            env={**os.environ, "MAMMOLENS_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def _lay_second_model(home: Path) -> None:
    """Install the built-in network once more by another name: something to switch to."""
    place = home / "models" / SECOND_MODEL
    shutil.copytree(find(DEFAULT), place)
    manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    manifest |= {"name": SECOND_MODEL, "version": "2"}
    (place / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """Start the application on an empty home with a second model, stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="mammolens-") as home:
        yield from _serve(Path(home))


def _serve(home: Path) -> Iterator[Served]:
    _lay_second_model(home)
    log = home / "serve.log"
    environment = {**os.environ, "MAMMOLENS_HOME": str(home), "MAMMOLENS_THREADS": "1"}
    command = [sys.executable, "-m", "mammolens", "serve", "--port", "0", "--workers", "1"]
    with open(log, "wb") as file:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 120
        while "Mammolens is at" not in log.read_text() and server.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        said = log.read_text()
        assert "Mammolens is at" in said, said
        address = said.split("Mammolens is at ")[1].split(",")[0]
        yield Served(address, home, said.split("Password:")[1].split()[0], log)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start Debian's Chromium; skips where it, or Playwright, is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed (make system-packages)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def dropped() -> dict[str, bytes]:
    """What a person drops: four views of one examination, a file that is cut off, and a photograph."""
    views = phantom.examination(seed=0, rows=1400, columns=1150)
    files = {f"{name}.dcm": phantom.dicom(view) for name, view in views.items()}
    files["broken.dcm"] = files["LCC.dcm"][:20_000]
    random = np.random.default_rng(1)
    colours = cv2.resize(
        random.integers(0, 255, (12, 16, 3), dtype=np.uint8), (800, 600), interpolation=cv2.INTER_CUBIC
    )
    files["holiday.jpg"] = cv2.imencode(".jpg", colours)[1].tobytes()
    return files


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any, str], None]:
    """Take a screenshot: into MAMMOLENS_SCREENSHOTS, for the gallery of docs/tour.md, else into a temporary folder."""
    chosen = os.environ.get("MAMMOLENS_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Any, name: str) -> None:
        page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=82, animations="disabled")

    return take
