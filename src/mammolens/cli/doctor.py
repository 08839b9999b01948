"""``mammolens doctor``: what is installed and whether it works."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mammolens import __version__
from mammolens.cli import terminal
from mammolens.cli.checks import Check, attempt, golden_checks, verdict

if TYPE_CHECKING:
    from mammolens.models.bundle import ModelBundle
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
    "import": ("h5py", "onnx"),
    "openvino": ("openvino",),
    "train": ("keras", "tensorboard", "tensorflow-cpu", "tensorflow", "torch", "jax"),
    "web": (
        "alembic",
        "argon2-cffi",
        "flask",
        "flask-babel",
        "flask-limiter",
        "flask-login",
        "flask-wtf",
        "prometheus-client",
        "psycopg",
        "pyotp",
        "reportlab",
        "segno",
        "sqlalchemy",
        "waitress",
        "zxcvbn",
    ),
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
        found[title] = attempt(title, examine)
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
    from mammolens.settings import settings

    values = settings().model_dump()
    return [Check(f"MAMMOLENS_{name.upper()}", None, str(value)) for name, value in values.items()]


def _decoding() -> list[Check]:
    """Check the bounded process, and every transfer syntax: those that can be written here by reading them back."""
    from mammolens.imaging.dicom_file import SYNTAXES
    from mammolens.phantom import TRANSFER_SYNTAXES, make

    phantom = make(rows=_ROWS, columns=_COLUMNS)
    checks = attempt("bounded process", _bounded_process)
    for syntax in sorted(SYNTAXES, key=lambda uid: [int(part) for part in uid.split(".")]):
        look = partial(_read_back, phantom, syntax) if syntax in TRANSFER_SYNTAXES else partial(_codec, syntax)
        checks += attempt(syntax, look)
    return checks


def _bounded_process() -> list[Check]:
    from mammolens.imaging.sandbox import default_pool
    from mammolens.settings import settings

    name, table = "bounded process", settings()
    pool = default_pool()
    if table.decode_in_process:
        return [Check(name, None, "switched off by MAMMOLENS_DECODE_IN_PROCESS: files are decoded without protection")]
    pool.start(1)
    bounds = f"{table.decode_memory_bytes >> 20} MiB, {table.decode_seconds:g} s"
    return [Check(name, True, f"{bounds}, up to {pool.workers} at a time")]


def _read_back(phantom: Phantom, syntax: str) -> list[Check]:
    import numpy as np

    from mammolens.imaging.sandbox import default_pool
    from mammolens.phantom import dicom

    mammogram = default_pool().read(dicom(phantom, transfer_syntax=syntax))
    same = np.array_equal(mammogram.pixels, phantom.pixels)
    result = "read back to the pixel" if same else "other pixels are read than were written"
    return [Check(syntax, same, f"{_decoder(syntax)}, {result}")]


def _codec(syntax: str) -> list[Check]:
    """Say whether the codec of a transfer syntax that can't be written here is there."""
    import imagecodecs

    # NONE is imagecodecs' codec for what is not compressed.
    codec = getattr(imagecodecs, _codec_name(syntax) or "NONE")
    return [Check(syntax, bool(codec.available), f"{_decoder(syntax)}, {'there' if codec.available else 'missing'}")]


def _decoder(syntax: str) -> str:
    """Name of a transfer syntax, and what decodes it."""
    from pydicom.uid import UID

    codec = _codec_name(syntax)
    name = UID(syntax).name.partition(":")[0]
    shown = "Deflated Image Frame Compression" if name == syntax else name
    return f"{shown}: {'built in' if codec is None else f'imagecodecs {codec}'}"


def _codec_name(syntax: str) -> str | None:
    """Codec of imagecodecs that decodes a transfer syntax; ``None`` where none is needed."""
    from mammolens.imaging import dicom_file

    families = {
        "JPEG8": dicom_file.JPEG_SYNTAXES,
        "JPEGLS": dicom_file.JPEG_LS_SYNTAXES,
        "JPEG2K": dicom_file.JPEG_2000_SYNTAXES | dicom_file.HTJ2K_SYNTAXES,
        "DICOMRLE": {dicom_file.RLE},
    }
    return next((codec for codec, family in families.items() if syntax in family), None)


def _engines() -> list[Check]:
    """Look which engines' libraries, which have the engines' names, are installed.

    Opening Keras takes long; ``models verify --engine keras`` does.
    """
    from importlib.util import find_spec

    from mammolens.inference.engines import ENGINES

    return [
        Check(name, None, "installed" if find_spec(name) is not None else "not installed (optional)")
        for name in ENGINES
    ]


def _model() -> list[Check]:
    from mammolens.inference.engines import open_engine
    from mammolens.models.bundle import load_bundle

    bundle = load_bundle()
    identity = bundle.identity
    check = Check(identity.name, True, f"version {identity.version}, sha256 {identity.sha256}")
    return [check, _automatic(bundle), *golden_checks(bundle, open_engine("auto", bundle))]


def _automatic(bundle: ModelBundle) -> Check:
    """Tell which engine ``auto`` stands for, and why."""
    from mammolens.inference.engines.choice import DEFAULT, cached
    from mammolens.settings import settings

    measured = cached(bundle, settings().threads)
    if measured is None:
        return Check("engine auto", None, f"{DEFAULT}; `mammolens models optimise` measures whether another is faster")
    times = [
        f"{trial.engine} {1e3 * trial.picture_seconds:.0f} ms"
        for trial in measured.trials
        if trial.state == "equal" and trial.picture_seconds is not None
    ]
    return Check("engine auto", None, f"{measured.best()} for many pictures; measured: {', '.join(times)}")


def _self_test() -> list[Check]:
    """Send a generated DICOM file the whole way."""
    from mammolens.inference import Predictor
    from mammolens.phantom import dicom, make

    predictor = Predictor.from_bundle()
    content = dicom(make(lesion="mass", rows=_ROWS, columns=_COLUMNS))
    began = time.perf_counter()
    prediction = predictor.predict(content)
    milliseconds = 1e3 * (time.perf_counter() - began)
    answer = f"probability {prediction.probability:.4f} ({prediction.label}) in {milliseconds:.0f} ms"
    return [Check("DICOM phantom to answer", True, answer)]
