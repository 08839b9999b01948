"""Routes of uploading, for the page's scripts: batches, files one by one, archives, progress."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify, request, stream_with_context
from flask.typing import ResponseReturnValue

from mammolens.errors import InputError, MammolensError, RequestInvalid
from mammolens.imaging.sandbox import default_pool
from mammolens.web.access import Actor, Permission, actor, allow
from mammolens.web.app import Services, reading, services
from mammolens.web.failures import status_of
from mammolens.web.intake import archive, batches, progress, receive
from mammolens.web.intake.receive import Arrival, Received, Refused
from mammolens.web.intake.slots import Slots
from mammolens.web.store import Incoming, Store
from mammolens.web.wording import words

uploads = Blueprint("uploads", __name__, url_prefix="/uploads")

MESSAGE_BYTES = 2 << 20
"""Largest JSON body."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Places:
    """How many requests of each kind may be at work: uploads, and streams of progress."""

    uploads: Slots
    streams: Slots


def register(app: Flask) -> None:
    """Add the routes to an application."""
    # Fewer together than the server has threads (`mammolens.web.work.service`), so that pages are always answered.
    app.extensions["mammolens.uploads"] = Places(
        uploads=Slots(4, each=3, waiting=14, seconds=30.0), streams=Slots(3, each=2)
    )
    app.jinja_env.globals["upload_limits"] = _limits
    app.register_blueprint(uploads)


def places() -> Places:
    """Places of this application for uploads and streams; the API's uploads take theirs here too."""
    found: Places = current_app.extensions["mammolens.uploads"]
    return found


@uploads.get("/batches")
@allow(Permission.UPLOAD)
def open_batches() -> Response:
    """Show one's own batches that were not put away, newest first."""
    asking = actor()
    found = batches.open_batches(reading(), asking)
    return jsonify(batches=[progress.snapshot(reading(), asking, batch.id, _words) for batch in found])


@uploads.post("/batches")
@allow(Permission.UPLOAD)
def new_batch() -> tuple[Response, int]:
    """Open a batch: ``{"names": ["folder/file", …]}``; answers with its and its files' identifiers in that order."""
    names = _message().get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise RequestInvalid("Name the files that are to be uploaded.")
    # A decoding process takes a second to start: it does so while the first file is on its way.
    default_pool().start(1)
    with services().database.session() as session:
        batch = batches.announce(session, actor(), names)
        files = [file.id for file in batch.files]
    return jsonify(id=batch.id, files=files), 201


@uploads.get("/batches/<batch_id>")
@allow(Permission.UPLOAD)
def batch(batch_id: str) -> Response:
    """Show how far a batch has come."""
    return jsonify(progress.snapshot(reading(), actor(), batch_id, _words))


@uploads.get("/batches/<batch_id>/events")
@allow(Permission.UPLOAD)
def events(batch_id: str) -> ResponseReturnValue:
    """Tell how far a batch has come as it goes, in short streams; 204 where all places are taken: then ask instead."""
    asking, streams = actor(), places().streams
    with services().database.reading() as session:
        batches.batch_of(session, asking, batch_id)
    if not streams.take(asking.user_id):
        return "", 204
    last = request.headers.get("Last-Event-ID", "")
    told = progress.events(services(), asking, batch_id, last, _words)
    response = Response(stream_with_context(told), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    # nginx would keep the events back until its buffer is full.
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(lambda: streams.free(asking.user_id))
    return response


@uploads.post("/batches/<batch_id>/known")
@allow(Permission.UPLOAD)
def known(batch_id: str) -> Response:
    """Tell which files are here already: ``{"hashes": {file: SHA-256}}``; those need not be sent."""
    hashes = _message().get("hashes")
    if not isinstance(hashes, dict) or not all(
        isinstance(value, str) and _SHA256.fullmatch(value) for value in hashes.values()
    ):
        raise RequestInvalid("Give the SHA-256 of each file in hexadecimal.")
    with services().database.session() as session:
        found = batches.recognise(session, actor(), batch_id, hashes)
    return jsonify(known=found)


@uploads.post("/batches/<batch_id>/close")
@allow(Permission.UPLOAD)
def close(batch_id: str) -> tuple[str, int]:
    """Put a batch away."""
    with services().database.session() as session:
        batches.put_away(session, actor(), batch_id)
    return "", 204


@uploads.post("/batches/<batch_id>/cancel")
@allow(Permission.UPLOAD)
def cancel(batch_id: str) -> Response:
    """Take a batch out of the queue."""
    with services().database.session() as session:
        cancelled = batches.cancel(session, actor(), batch_id)
    return jsonify(cancelled=cancelled)


@uploads.post("/files/<file_id>")
@allow(Permission.UPLOAD)
def file(file_id: str) -> ResponseReturnValue:
    """Take a file in: its bytes are the body. A ZIP is answered line by line, as its files are kept."""
    opened, asking = services(), actor()
    # A session of its own, here and in `events`: the request's would stay open as long as the request.
    with opened.database.reading() as session:
        found = batches.file_of(session, asking, file_id)
    arrival = Arrival(found.batch_id, found.name, found.id)
    with ExitStack() as held:
        held.enter_context(places().uploads.place(asking.user_id))
        receive.check_length(opened, asking, request.content_length or 0)
        try:
            arrived = receive.take(opened, request.stream, request.content_length)
        except InputError as error:
            return _told(receive.refuse(opened, asking, arrival, error))
        if not archive.is_zip(arrived.head):
            [outcome] = receive.deliver(opened, asking, arrival, arrived)
            return _told(outcome)
        held.callback(Store(opened.folder).drop, arrived)
        lines = stream_with_context(_lines(opened, asking, arrival, arrived))
        response = Response(lines, mimetype="application/x-ndjson")
        response.headers["X-Accel-Buffering"] = "no"
        response.call_on_close(held.pop_all().close)
        return response


@uploads.post("/files/<file_id>/cancel")
@allow(Permission.UPLOAD)
def cancel_file(file_id: str) -> tuple[str, int]:
    """Take one file out of the queue."""
    with services().database.session() as session:
        batches.cancel_file(session, actor(), file_id)
    return "", 204


@uploads.post("/files/<file_id>/retry")
@allow(Permission.UPLOAD)
def retry_file(file_id: str) -> tuple[str, int]:
    """Queue a file's picture again that failed or was cancelled."""
    with services().database.session() as session:
        batches.retry_file(session, actor(), file_id)
    return "", 204


def _lines(opened: Services, asking: Actor, arrival: Arrival, arrived: Incoming) -> Iterator[str]:
    """Outcomes of a ZIP's files, one JSON object a line; the last says so where the rest could not be kept."""
    try:
        for outcome in receive.deliver(opened, asking, arrival, arrived):
            yield json.dumps(_described(outcome)) + "\n"
    except MammolensError as error:
        yield json.dumps({"outcome": "failed", "code": error.code, "message": words(error.code)}) + "\n"


def _told(outcome: Received | Refused) -> tuple[Response, int]:
    status = 201 if isinstance(outcome, Received) else status_of(outcome.error)
    return jsonify(_described(outcome)), status


def _described(outcome: Received | Refused) -> dict[str, Any]:
    file = {"file": outcome.file_id, "name": outcome.name}
    if isinstance(outcome, Refused):
        return file | {"outcome": "refused", "code": outcome.error.code, "message": words(outcome.error.code)}
    return file | {
        "outcome": "received",
        "state": outcome.state.value,
        "duplicate": outcome.duplicate,
        "image": outcome.image_id,
        "case": outcome.case_id,
        "number": f"A-{outcome.case_number}",
    }


def _message() -> dict[str, Any]:
    """JSON object of this request.

    Raises
    ------
    RequestInvalid
        If it is none, or larger than `MESSAGE_BYTES`.
    """
    # The guard lets as much through to these addresses as an upload may have.
    if not 0 < (request.content_length or 0) <= MESSAGE_BYTES:
        raise RequestInvalid("Send a JSON object of at most 2 MiB.")
    message = request.get_json(silent=True)
    if not isinstance(message, dict):
        raise RequestInvalid("Send a JSON object.")
    return message


def _words(code: str, _message: str) -> str:
    return words(code)


def _limits() -> dict[str, int]:
    """Give what the page tells people before they send: bytes of a file and a ZIP, files of a ZIP and a batch."""
    table = services().settings
    return {
        "file": table.upload_file_bytes,
        "zip": table.upload_zip_bytes,
        "zip_files": table.upload_zip_files,
        "batch": batches.MOST_FILES,
    }
