"""``mammolens doctor``: what is installed and whether it works."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mammolens import __version__
from mammolens.cli import terminal
from mammolens.cli.checks import Check, attempt, golden_checks, verdict
from mammolens.errors import ConfigurationError

if TYPE_CHECKING:
    from mammolens.phantom import Phantom

SCHEMA = "mammolens.doctor/1"

NEEDED = (
    "imagecodecs",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "pydantic-settings",
    "pydicom",
    "rich",
    "typer",
)
"""Distributions of the base install."""

OPTIONAL = {
    "train": ("h5py", "keras", "onnx", "tensorboard", "tensorflow-cpu", "tensorflow", "torch", "jax"),
    "web": ("flask", "waitress"),
    "dicom": ("highdicom", "pynetdicom"),
    "ray": ("ray",),
}
"""Distributions of the extras, and what may stand in for one of them."""

_ROWS, _COLUMNS = 800, 640

Section = tuple[str, Callable[[], list[Check]]]


def doctor(json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what is installed and whether it works.

    Exit status 1 where a check fails.
    """
    found: dict[str, list[Check]] = {}
    for title, examine in _sections():
        found[title] = examine()
        if not json:
            typer.secho(title, bold=True)
            for check in found[title]:
                typer.secho(f"  {terminal.printable(check.line())}", fg="red" if check.ok is False else None)
    ok = all(verdict(checks) for checks in found.values())
    if json:
        typer.echo(_as_json(found, ok))
    else:
        typer.echo("All is well." if ok else "Something is wrong: see the lines marked FAILED.")
    if not ok:
        raise typer.Exit(terminal.CHECK_FAILED)


def _as_json(found: dict[str, list[Check]], ok: bool) -> str:
    import json

    sections = {
        title: [{"name": check.name, "ok": check.ok, "detail": terminal.unicode_text(check.detail)} for check in checks]
        for title, checks in found.items()
    }
    return json.dumps({"schema": SCHEMA, "version": __version__, "ok": ok, "sections": sections})


def _sections() -> list[Section]:
    return [
        ("System", _system),
        ("Dependencies", _dependencies),
        ("Settings", _settings),
        ("Decoding", _decoding),
        ("Engines", _engines),
        ("Model", _model),
        ("Self-test", _self_test),
    ]


def _system() -> list[Check]:
    return [
        Check("mammolens", None, __version__),
        Check("python", None, f"{platform.python_implementation()} {platform.python_version()}"),
        Check("platform", None, platform.platform()),
        Check("processors", None, str(terminal.processors())),
    ]


def _dependencies() -> list[Check]:
    checks = [_distribution(name, needed=True) for name in NEEDED]
    for extra, names in OPTIONAL.items():
        present = [check for name in names if (check := _distribution(name, needed=False)).ok]
        checks += present or [Check(f"[{extra}]", None, "not installed")]
    return checks


def _distribution(name: str, *, needed: bool) -> Check:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(name, False if needed else None, "not installed")


def _settings() -> list[Check]:
    try:
        values = terminal.checked_settings().model_dump()
    except ConfigurationError as error:
        return [Check("settings", False, error.message)]
    return [Check(f"MAMMOLENS_{name.upper()}", None, str(value)) for name, value in values.items()]


def _decoding() -> list[Check]:
    """Check the bounded process, and every transfer syntax: those that can be written here by reading them back."""
    from pydicom.uid import UID

    from mammolens.imaging.dicom_file import SYNTAXES
    from mammolens.phantom import TRANSFER_SYNTAXES, make

    phantom = make(rows=_ROWS, columns=_COLUMNS)
    checks = [attempt("bounded process", _bounded_process)]
    for syntax in sorted(SYNTAXES, key=lambda uid: [int(part) for part in uid.split(".")]):
        name = UID(syntax).name.partition(":")[0].partition(" (")[0]
        if syntax in TRANSFER_SYNTAXES:
            checks.append(attempt(name[:34], lambda syntax=syntax: _read_back(phantom, syntax)))  # type: ignore[misc]
        else:
            checks.append(Check(name[:34], *_codec(syntax)))
    return checks


def _bounded_process() -> str:
    from mammolens.imaging.sandbox import default_pool

    table = terminal.checked_settings()
    pool = default_pool()
    if table.decode_in_process:
        return "switched off by MAMMOLENS_DECODE_IN_PROCESS: files are decoded without protection"
    pool.start(1)
    return f"{table.decode_memory_bytes >> 20} MiB, {table.decode_seconds:g} s, up to {pool.workers} at a time"


def _read_back(phantom: Phantom, syntax: str) -> str:
    import numpy as np

    from mammolens.errors import DecodeError
    from mammolens.imaging.sandbox import default_pool
    from mammolens.phantom import dicom

    mammogram = default_pool().read(dicom(phantom, transfer_syntax=syntax))
    if not np.array_equal(mammogram.pixels, phantom.pixels):
        raise DecodeError("The pixels that were read differ from those that were written.")
    return f"{_decoder(syntax)}, read back to the pixel"


def _decoder(syntax: str) -> str:
    """Name the codec of imagecodecs that decodes a transfer syntax; "built in" where none is needed."""
    from mammolens.imaging import dicom_file

    families = {
        "JPEG8": dicom_file.JPEG_SYNTAXES,
        "JPEGLS": dicom_file.JPEG_LS_SYNTAXES,
        "JPEG2K": dicom_file.JPEG_2000_SYNTAXES | dicom_file.HTJ2K_SYNTAXES,
        "DICOMRLE": {dicom_file.RLE},
    }
    return next((f"imagecodecs {codec}" for codec, family in families.items() if syntax in family), "built in")


def _codec(syntax: str) -> tuple[bool, str]:
    """Say whether the codec of a transfer syntax is there, and which it is."""
    import imagecodecs

    name = _decoder(syntax)
    codec = getattr(imagecodecs, name.rpartition(" ")[2], None) if name.startswith("imagecodecs") else None
    available = name == "built in" or bool(getattr(codec, "available", False))
    return available, f"{name}, {'available' if available else 'missing'}"


def _engines() -> list[Check]:
    """Look which engines could be opened; opening Keras takes long and is left to ``models verify --engine``."""
    from importlib.util import find_spec

    from mammolens.inference.engines import ENGINES

    return [
        Check(name, None, "installed" if find_spec(name) is not None else "not installed (optional)")
        for name in ENGINES
    ]


def _model() -> list[Check]:
    from mammolens.errors import MammolensError
    from mammolens.inference.engines import open_engine
    from mammolens.models.bundle import load_bundle

    try:
        bundle = load_bundle()
        identity = bundle.identity
        checks = [Check(identity.name, True, f"version {identity.version}, sha256 {identity.sha256}")]
        return checks + golden_checks(bundle, open_engine("auto", bundle))
    except MammolensError as error:
        return [Check("default", False, f"{error.message} [{error.code}]")]


def _self_test() -> list[Check]:
    return [attempt("DICOM phantom to answer", _answer_for_phantom)]


def _answer_for_phantom() -> str:
    from mammolens.inference import Predictor
    from mammolens.phantom import dicom, make

    predictor = Predictor.from_bundle()
    content = dicom(make(lesion="mass", rows=_ROWS, columns=_COLUMNS))
    began = time.perf_counter()
    prediction = predictor.predict(content)
    milliseconds = 1e3 * (time.perf_counter() - began)
    return f"probability {prediction.probability:.4f} ({prediction.label}) in {milliseconds:.0f} ms"
