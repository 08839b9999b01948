"""The example client and the curl lines of docs/web-api.md against a server that runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mammolens.web.access import Permission
from mammolens.web.app import Services
from mammolens.web.database.tables import User
from mammolens.web.security import tokens

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
SCOPES = {Permission.VIEW, Permission.UPLOAD, Permission.EXPORT}


@pytest.fixture
def environment(services: Services, people: Callable[..., Any], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Serve the home of `services`; gives what the example and the curl lines read."""
    person = people("robot")
    with services.database.session() as session:
        _, token = tokens.make(session, session.get_one(User, person.id), "example", SCOPES)
    log = tmp_path / "serve.log"
    variables = {**os.environ, "MAMMOLENS_HOME": str(services.folder.parent), "MAMMOLENS_THREADS": "1"}
    command = [sys.executable, "-m", "mammolens", "serve", "--port", "0", "--workers", "1"]
    with open(log, "wb") as file:
        server = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 120
        while "Mammolens is at" not in log.read_text() and server.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        said = log.read_text()
        assert "Mammolens is at" in said, said
        yield {
            **os.environ,
            "MAMMOLENS_URL": said.split("Mammolens is at ")[1].split(",")[0],
            "MAMMOLENS_TOKEN": token,
        }
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def test_the_example_and_the_lines_of_the_page_do_what_they_say(
    environment: dict[str, str], phantom_files: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "LCC.dcm").write_bytes(phantom_files["LCC.dcm"])
    (tmp_path / "broken.dcm").write_bytes(b"MZ" + bytes(1000))
    command = [
        sys.executable,
        str(REPOSITORY / "examples" / "api_client.py"),
        "LCC.dcm",
        "broken.dcm",
        "--overlays",
        "overlays",
    ]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert (good["file"], good["state"]) == ("LCC.dcm", "answered")
    assert 0.0 < good["probability"] < 1.0
    assert good["label"] in ("benign", "malignant")
    assert (bad["state"], bad["code"]) == ("refused", "unknown-format")
    [overlay] = (tmp_path / "overlays").iterdir()
    assert overlay.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    if shutil.which("curl") is None:
        pytest.skip("curl is not installed; the example did what it says")
    text = (REPOSITORY / "docs" / "web-api.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if block.startswith("curl")]
    assert len(blocks) == 2
    sent = subprocess.run(["bash", "-euc", blocks[0]], env=environment, cwd=tmp_path, capture_output=True, check=True)
    [file] = json.loads(sent.stdout)["files"]
    assert (file["image"], file["duplicate"]) == (good["image"], True)
    asked = {**environment, "IMAGE": file["image"]}
    told = subprocess.run(["bash", "-euc", blocks[1]], env=asked, cwd=tmp_path, capture_output=True, check=True)
    decoder = json.JSONDecoder()
    image, place = decoder.raw_decode(told.stdout.decode())
    prediction, _ = decoder.raw_decode(told.stdout.decode()[place:])
    assert image["prediction"] == prediction
    assert prediction["probability"] == good["probability"]
    assert (tmp_path / "overlay.png").read_bytes() == overlay.read_bytes()
