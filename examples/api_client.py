"""Send mammograms to a Mammolens server, wait for the answers, print one line of JSON for each file.

::

    export MAMMOLENS_URL=http://127.0.0.1:5000 MAMMOLENS_TOKEN=mml_…
    python examples/api_client.py folder/*.dcm

The token is made on the page "Your account"; it needs the scopes view and upload, and export with ``--overlays``.
Needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUSY = (429, 503)
"""Statuses after which the same request will do later."""


class Refused(Exception):
    """The server's answer to a request that it did not carry out: its status, and its problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")
        self.status = status
        self.problem = problem


class Client:
    """Talks to one server with one token.

    Parameters
    ----------
    address : str
        Of the server, for example ``https://mammolens.hospital.example``.
    token : str
    """

    def __init__(self, address: str, token: str) -> None:
        self._base = f"{address.rstrip('/')}/api/v1"
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """Send a request, again while the server is busy, and give the bytes of the answer."""
        headers = {**self._headers, **({"Content-Type": kind} if body is not None else {})}
        request = urllib.request.Request(self._base + path, data=body, headers=headers, method=method)  # noqa: S310
        for attempt in range(1, 7):
            try:
                with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310 - the user's own server
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in BUSY and attempt < 6:
                        time.sleep(float(error.headers.get("Retry-After", attempt)))
                        continue
                    raise Refused(error.code, json.loads(error.read() or b"{}")) from None
        raise AssertionError("unreachable")

    def upload(self, path: Path) -> list[dict[str, Any]]:
        """Send one file, or a ZIP of several; gives what became of each."""
        name = urllib.parse.quote(path.name)
        answer = self.ask("POST", f"/images?name={name}", path.read_bytes(), "application/octet-stream")
        files: list[dict[str, Any]] = json.loads(answer)["files"]
        return files

    def wait(self, image_id: str, seconds: float = 600.0) -> dict[str, Any]:
        """Wait until an image has come to its end, and give it."""
        end = time.monotonic() + seconds
        while True:
            image: dict[str, Any] = json.loads(self.ask("GET", f"/images/{image_id}"))
            if image["state"] not in ("queued", "running") or time.monotonic() > end:
                return image
            time.sleep(0.25)


def answers(client: Client, paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Send all files first, then wait for each: the server works on several at a time."""
    sent: list[tuple[str, dict[str, Any]]] = []
    for path in paths:
        try:
            sent += [(path.name, file) for file in client.upload(path)]
        except Refused as refused:
            sent.append((path.name, {"image": None, "error": refused.problem}))
    for name, file in sent:
        if file["image"] is None:
            error = file["error"]
            yield {"file": name, "state": "refused", "code": error.get("code")}
            continue
        image = client.wait(file["image"])
        prediction = image["prediction"] or {}
        yield {
            "file": name,
            "image": image["id"],
            "state": image["state"],
            "probability": prediction.get("probability"),
            "label": prediction.get("label"),
            "regions": prediction.get("regions"),
            "code": (image["error"] or {}).get("code"),
        }


def main() -> int:
    """Run the example; the exit status is 3 where a file got no answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--overlays", type=Path, metavar="FOLDER", help="keep the overlay of each answer here")
    options = parser.parse_args()
    try:
        client = Client(os.environ["MAMMOLENS_URL"], os.environ["MAMMOLENS_TOKEN"])
    except KeyError as missing:
        parser.error(f"set {missing}")
    status = 0
    for answer in answers(client, options.paths):
        print(json.dumps(answer), flush=True)
        if answer["state"] != "answered":
            status = 3
        elif options.overlays:
            options.overlays.mkdir(parents=True, exist_ok=True)
            picture = client.ask("GET", f"/images/{answer['image']}/artifacts/overlay.png")
            (options.overlays / f"{answer['image']}.png").write_bytes(picture)
    return status


if __name__ == "__main__":
    sys.exit(main())
