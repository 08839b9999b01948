"""The web application: from an upload to a result on the page, and the worklist with many cases.

Run: ``python -m benchmarks web [--quick] [--only shown|users|worklist]``.

Each part serves a home of its own by `mammolens serve` with its default settings and asks by HTTP, as a browser does.
``docs/benchmarks.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
from sqlalchemy import insert

from benchmarks import facts
from benchmarks.inputs import REPOSITORY, find
from benchmarks.measure import against, table
from benchmarks.web_served import Client, make_clients, served
from mammolens.models.bundle import load_bundle
from mammolens.web.app import Services
from mammolens.web.database.columns import new_id, now
from mammolens.web.database.tables import Case, Image, Result, User

USERS = 8
_POLL_SECONDS = 0.02
_CHUNK = 2000
_VIEWS = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))


def fresh_copies(path: Path) -> Callable[[int], bytes]:
    """Give a function that makes the same file with identifiers of its own, so that none is a duplicate.

    Parameters
    ----------
    path : Path
        A DICOM file.

    Returns
    -------
    callable
        From a number to the file's bytes.
    """
    content = path.read_bytes()
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "StudyInstanceUID"])
    uids = [str(header.SOPInstanceUID).encode(), str(header.StudyInstanceUID).encode()]

    def make(number: int) -> bytes:
        made = content
        for uid in uids:
            made = made.replace(uid, uid[:-8] + f"{10_000_000 + number}".encode())
        return made

    return make


def show_one(client: Client, content: bytes) -> float:
    """Upload a file, wait for its answer, load the page of its case with thumbnail and map; milliseconds in all."""
    began = time.perf_counter()
    status, answer = client.ask("upload", "POST", "/api/v1/images?name=a.dcm", content)
    if status != 201:
        raise RuntimeError(f"upload: status {status}: {answer.decode('utf-8', 'replace')}")
    [file] = json.loads(answer)["files"]
    while client.document("state", f"/cases/{file['case']}/state")["images"][file["image"]] in ("queued", "running"):
        time.sleep(_POLL_SECONDS)
    page = client.get("page", f"/cases/{file['case']}").decode("utf-8")
    if 'class="score-number' not in page:
        raise RuntimeError("the page shows no score")
    client.get("thumbnail", page.split('<img src="')[1].split('"')[0])
    client.get("map", page.split('"grid": "')[1].split('"')[0])
    return 1e3 * (time.perf_counter() - began)


def measure_shown(quick: bool, folder: Path) -> dict[str, Any]:
    """Upload one file after the other by one user, nobody else there."""
    given = find("jpeg-2000", folder)
    make = fresh_copies(given.path)
    _, [token] = make_clients(folder, 1)
    with served(folder) as running:
        client = Client(running.address, token)
        show_one(client, make(0))  # the decoding processes start, caches fill
        client.taken.clear()
        used = running.processor_ms()
        values = [show_one(client, make(number)) for number in range(1, 4 if quick else 16)]
        used = (running.processor_ms() - used) / len(values)
    return {
        "input": given.label,
        "origin": given.origin,
        "values_ms": values,
        "processor_ms": used,
        "requests": _by_kind([client]),
    }


def measure_users(quick: bool, folder: Path) -> dict[str, Any]:
    """Let eight users upload at a time, each waiting for the result before the next file."""
    given = find("jpeg-2000", folder)
    make = fresh_copies(given.path)
    each = 2 if quick else 25
    _, made = make_clients(folder, USERS)
    values: list[float] = []
    failed: list[BaseException] = []
    with served(folder) as running:
        clients = [Client(running.address, token) for token in made]
        show_one(clients[0], make(0))
        clients[0].taken.clear()

        def work(place: int) -> None:
            try:
                for number in range(each):
                    values.append(show_one(clients[place], make(1 + place * each + number)))
            except (RuntimeError, OSError) as error:
                failed.append(error)

        began, used = time.perf_counter(), running.processor_ms()
        threads = [threading.Thread(target=work, args=(place,)) for place in range(USERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds, used = time.perf_counter() - began, running.processor_ms() - used
    if failed:
        raise failed[0]
    return {
        "users": USERS,
        "values_ms": values,
        "per_second": len(values) / seconds,
        "processor_ms": used / len(values),
        "requests": _by_kind(clients),
    }


def measure_worklist(quick: bool, folder: Path) -> dict[str, Any]:
    """Ask for pages of a worklist with many cases of four views, as a reader of a group."""
    count = 10_000 if quick else 100_000
    services, tokens = make_clients(folder, 2)
    began = time.perf_counter()
    fill(services, count)
    filled = time.perf_counter() - began
    services.database.close()
    with served(folder) as running:
        client = Client(running.address, tokens[0])
        deep = _deep_page(client, 20 if quick else 40)
        pages = {
            "first page": "/",
            "by suspicion": "/?order=suspicion",
            "not read yet": "/?reader=unread",
            "refused": "/?state=refused",
            "oldest first": "/?order=oldest",
            "a page far down": deep,
            "search by number": f"/?search=A-{1000 + count // 2}",
            "search by patient": "/?search=PAT-00777",
        }
        times, processor = {}, {}
        for name, path in pages.items():
            used = running.processor_ms()
            times[name] = _times(client, path, 5 if quick else 30)
            processor[name] = (running.processor_ms() - used) / len(times[name])
    return {"cases": count, "images": 4 * count, "fill_s": filled, "pages_ms": times, "processor_ms": processor}


def fill(services: Services, count: int) -> None:
    """Write answered cases of four views into a database, one in fifty refused, three in ten read."""
    identity = load_bundle("default").identity
    with services.database.reading() as session:
        owners = [(user.id, user.group_id) for user in session.query(User).order_by(User.name)]
    moment = now()
    for first in range(0, count, _CHUNK):
        rows: dict[type, list[dict[str, Any]]] = {Case: [], Image: [], Result: []}
        for number in range(first, min(first + _CHUNK, count)):
            _case_rows(
                rows, number, owners[number % len(owners)], moment - dt.timedelta(seconds=count - number), identity
            )
        with services.database.session() as session:
            for kind, some in rows.items():
                session.execute(insert(kind), some)


def _case_rows(
    rows: dict[type, list[dict[str, Any]]], number: int, owner: tuple[str, str | None], moment: dt.datetime, model: Any
) -> None:
    """One case's rows. Scores are spread evenly; nothing is drawn, so that two runs fill alike."""
    case, score, refused = new_id(), (number * 0.6180339887) % 1.0, number % 50 == 7
    read = number % 10 < 3 and not refused
    rows[Case].append(
        {
            "id": case,
            "number": 1001 + number,
            "owner_id": owner[0],
            "group_id": owner[1],
            "examination": f"{number:064x}",
            "arrived": moment,
            "state": "refused" if refused else "answered",
            "images_count": 4,
            "score": None if refused else score,
            "label": None if refused else ("malignant" if score >= 0.31 else "benign"),
            "assessed": moment if read else None,
            "assessor_id": owner[0] if read else None,
            "birads": 1 + number % 5 if read else None,
        }
    )
    for place, (laterality, view) in enumerate(_VIEWS):
        image = new_id()
        rows[Image].append(
            {
                "id": image,
                "case_id": case,
                "sha256": f"{4 * number + place:064x}",
                "bytes": 30_000_000,
                "kind": "dicom",
                "arrived": moment,
                "state": "refused" if refused else "answered",
                "error_code": "no-breast" if refused else None,
                "laterality": laterality,
                "view": view,
                "view_modifiers": [],
                "rows": 5355,
                "columns": 4915,
            }
        )
        if not refused:
            rows[Result].append(_result_row(image, score * (1.0 - 0.1 * place), moment, model))


def _result_row(image: str, probability: float, moment: dt.datetime, model: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "image_id": image,
        "model_name": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "probability": probability,
        "logit": 0.0,
        "threshold": 0.31,
        "label": "malignant" if probability >= 0.31 else "benign",
        "confidence": max(probability, 1.0 - probability),
        "regions": [{"box": [812, 1033, 1020, 1260], "centre": [915, 1140], "score": 0.9}],
        "notices": [],
        "geometry": {"box": [0.0, 0.0, 4915.0, 5355.0], "mirrored": False, "size": [384, 288]},
        "timing_ms": {"total": 500.0},
        "created": moment,
    }


def _deep_page(client: Client, pages: int) -> str:
    """Address of a page after so many others."""
    path = "/"
    for _ in range(pages):
        page = client.get("way", path).decode("utf-8")
        path = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    return path


def _times(client: Client, path: str, rounds: int) -> list[float]:
    client.taken.clear()
    for _ in range(rounds):
        client.get("page", path)
    return [value for _, value in client.taken]


def _by_kind(clients: list[Client]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for client in clients:
        for kind, value in client.taken:
            found.setdefault(kind, []).append(value)
    return found


def late(values: list[float]) -> float:
    """95th percentile: the smallest value that 95 % of all do not exceed."""
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


def _row(name: str, values: list[float]) -> list[str]:
    return [name, str(len(values)), f"{statistics.median(values):.0f}", f"{late(values):.0f}", f"{max(values):.0f}"]


_HEAD = ("", "n", "median, ms", "95th percentile, ms", "longest, ms")


def _used(result: dict[str, Any]) -> str:
    return f"{result['processor_ms']:.0f} ms of processor time for each, all processes of the server together"


def show_shown(result: dict[str, Any]) -> str:
    """Lay out the part `shown`."""
    seconds = statistics.median(result["values_ms"]) / 1e3
    rows = [_row("upload to shown", result["values_ms"])]
    rows += [_row(f"  {kind}", values) for kind, values in result["requests"].items()]
    said = against(seconds, "≤", 2.0, unit=" s")
    return (
        f"## One user: {result['input']} ({result['origin']})\n\n{table(_HEAD, rows)}\n\n{_used(result)}; median {said}"
    )


def show_users(result: dict[str, Any]) -> str:
    """Lay out the part `users`."""
    rows = [_row("upload to shown", result["values_ms"])]
    rows += [_row(f"  {kind}", values) for kind, values in result["requests"].items()]
    head = f"## {len(result['values_ms'])} uploads by {result['users']} users at a time"
    return f"{head}\n\n{table(_HEAD, rows)}\n\n{_used(result)}; {result['per_second']:.2f} results a second"


def show_worklist(result: dict[str, Any]) -> str:
    """Lay out the part `worklist`."""
    used = result["processor_ms"]
    rows = [[*_row(name, values), f"{used[name]:.0f}"] for name, values in result["pages_ms"].items()]
    slowest = max(late(values) for values in result["pages_ms"].values())
    said = against(slowest, "≤", 200.0, 0, " ms")
    head = f"## The worklist with {result['cases']:,} cases, {result['images']:,} pictures"
    return f"{head}\n\n{table((*_HEAD, 'processor, ms'), rows)}\n\nslowest 95th percentile {said}"


PARTS: dict[str, tuple[Callable[[bool, Path], dict[str, Any]], Callable[[dict[str, Any]], str]]] = {
    "shown": (measure_shown, show_shown),
    "users": (measure_users, show_users),
    "worklist": (measure_worklist, show_worklist),
}


def main() -> None:
    """Measure what is asked for, print Markdown, write ``web.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks web", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats: does it run, and about how fast")
    parser.add_argument("--only", action="append", choices=tuple(PARTS), metavar="PART", help="may be repeated")
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "benchmark-output", metavar="DIR", help="folder of web.json"
    )
    options = parser.parse_args()
    known = facts.facts()
    print(f"# The web application\n\n{facts.show(known)}\n", flush=True)
    record: dict[str, Any] = {
        "schema": "mammolens.benchmark.web/1",
        "quick": options.quick,
        "facts": known,
        "parts": {},
    }
    for name in options.only or PARTS:
        measure, show = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            result = measure(options.quick, Path(folder))
        record["parts"][name] = result
        print(f"{show(result)}\n", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "web.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
