"""Pictures: to see on a page, and to take away."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Flask, Response, jsonify, request, url_for

from mammolens.errors import RequestInvalid
from mammolens.explain.colours import COLOUR_MAPS
from mammolens.web.access import Permission, actor, allow, image_of
from mammolens.web.app import reading, services
from mammolens.web.database.tables import Image, Result
from mammolens.web.pictures import exporting, heat, levels, rendering, tiles

pictures = Blueprint("pictures", __name__, url_prefix="/pictures")

DAY = 86_400
"""Seconds that a browser may keep what never changes; not longer, for a case may be deleted."""


def register(app: Flask) -> None:
    """Add the routes to an application."""
    app.register_blueprint(pictures)


@pictures.get("/colours.json")
@allow(Permission.VIEW)
def colours() -> Response:
    """Give the colour maps, and how the tint rises with the value."""
    return _asked_anew(jsonify(heat.colours()))


@pictures.get("/<image_id>/thumb.png")
@allow(Permission.VIEW)
def thumb(image_id: str) -> Response:
    """Show a picture small."""
    return _png(rendering.thumb_png(services(), _image(image_id)))


@pictures.get("/<image_id>/preview.png")
@allow(Permission.VIEW)
def preview(image_id: str) -> Response:
    """Show a picture as a report shows it."""
    return _png(rendering.preview_png(services(), _image(image_id)))


@pictures.get("/<image_id>/levels.json", endpoint="levels")
@allow(Permission.VIEW)
def describe_levels(image_id: str) -> Response:
    """Say what a viewer needs to know of a picture; its levels are made where they are missing."""
    image = _image(image_id)
    found = levels.make(services(), image)
    first = url_for("pictures.tile", image_id=image.id, level=0, x=0, y=0)
    return _asked_anew(jsonify({**found, "tiles": first.removesuffix("0/0/0")}))


@pictures.get("/<image_id>/tiles/<int:level>/<int:x>/<int:y>")
@allow(Permission.VIEW)
def tile(image_id: str, level: int, x: int, y: int) -> Response:
    """Give one tile as raw values."""
    image = _image(image_id)
    tag, zipped = levels.tag(image), request.accept_encodings.quality("gzip") > 0
    etag = f"{tag}-{level}-{x}-{y}-{'gzip' if zipped else 'raw'}"
    response = Response(mimetype="application/octet-stream")
    if not request.if_none_match.contains(etag):
        data = tiles.cut(services(), image, level, x, y)
        response.set_data(tiles.packed(data) if zipped else data)
    if zipped:
        response.content_encoding = "gzip"
    response.vary.add("Accept-Encoding")
    response.set_etag(etag)
    response.cache_control.private = True
    if request.args.get("v") == tag:
        response.cache_control.max_age = DAY
        response.cache_control.immutable = True
    else:
        response.cache_control.no_cache = True
    response.make_conditional(request)
    return response


@pictures.get("/<image_id>/answers/<model>/heat.json", endpoint="heat")
@allow(Permission.VIEW)
def describe_heat(image_id: str, model: str) -> Response:
    """Say where an answer's heat map lies."""
    _, result = _answer(image_id, model)
    return _asked_anew(jsonify(heat.describe(result)))


@pictures.get("/<image_id>/answers/<model>/heat.bin")
@allow(Permission.VIEW)
def grid(image_id: str, model: str) -> Response:
    """Give an answer's heat map as bytes."""
    image, result = _answer(image_id, model)
    values = heat.grid(services(), image.id, result)
    return _asked_anew(Response(values.tobytes(), mimetype="application/octet-stream"))


@pictures.get("/<image_id>/answers/<model>/overlay.png")
@allow(Permission.VIEW)
def overlay(image_id: str, model: str) -> Response:
    """Show an answer on its picture."""
    image, result = _answer(image_id, model)
    return _png(rendering.overlay_png(services(), image, result, _colours()))


@pictures.get("/<image_id>/export.png")
@allow(Permission.EXPORT)
def export(image_id: str) -> Response:
    """Give a picture away at its full resolution."""
    given = request.args
    options = exporting.options_of(given.get("bits", "8"), given.get("crop", ""), given.get("window", ""))
    image = _image(image_id)
    return _given_away(image, exporting.whole_png(services(), image, options), "picture", "")


@pictures.get("/<image_id>/answers/<model>/export-overlay.png")
@allow(Permission.EXPORT)
def export_overlay(image_id: str, model: str) -> Response:
    """Give an answer's overlay away."""
    image, result = _answer(image_id, model)
    return _given_away(image, rendering.overlay_png(services(), image, result, _colours()), "overlay", "overlay")


@pictures.get("/<image_id>/answers/<model>/export-pair.png")
@allow(Permission.EXPORT)
def export_pair(image_id: str, model: str) -> Response:
    """Give picture and overlay, side by side, away."""
    image, result = _answer(image_id, model)
    return _given_away(image, rendering.pair_png(services(), image, result, _colours()), "pair", "pair")


def _image(image_id: str) -> Image:
    return image_of(reading(), actor(), image_id)


def _answer(image_id: str, model: str) -> tuple[Image, Result]:
    image = _image(image_id)
    return image, heat.result_of(reading(), image, model)


def _colours() -> str:
    name = request.args.get("colours", COLOUR_MAPS[0])
    if name not in COLOUR_MAPS:
        raise RequestInvalid(f"There is no such colour map. Choose one of: {', '.join(COLOUR_MAPS)}.")
    return name


def _png(data: bytes) -> Response:
    return _asked_anew(Response(data, mimetype="image/png"))


def _asked_anew(response: Response) -> Response:
    """Let this browser keep a response, and ask each time whether it still holds."""
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    response.cache_control.private = True
    response.cache_control.no_cache = True
    response.make_conditional(request)
    return response


def _given_away(image: Image, data: bytes, what: str, part: str) -> Response:
    """Give a file, once it stands in the audit log that it is given."""
    exporting.note(services(), actor(), image, what)
    response = Response(data, mimetype="image/png")
    response.headers.set("Content-Disposition", "attachment", filename=exporting.file_name(image, part))
    response.cache_control.no_store = True
    return response
