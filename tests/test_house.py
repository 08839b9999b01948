"""The rules of the house: what loads when, which errors and settings exist, what no file may hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mammolens
from mammolens import errors, phantom
from mammolens.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = {"cv2", "flask", "imagecodecs", "keras", "onnxruntime", "pydicom", "ray", "tensorflow", "torch"}


def modules_after(statement: str, *arguments: str) -> set[str]:
    """Top-level modules in a fresh interpreter after one statement has run."""
    program = (
        "import atexit, json, sys\n"
        "names = lambda: sorted({name.partition('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: print('\\nMODULES ' + json.dumps(names())))\n"
        f"{statement}\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
    )
    return set(json.loads(result.stdout.rpartition("MODULES ")[2]))


def error_classes() -> list[type[errors.MammolensError]]:
    found = [errors.MammolensError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return [cls for cls in found if cls.__module__ == errors.__name__]


def tracked_files() -> list[Path]:
    """Files that git tracks, or would after `git add`."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    ).stdout.split("\0")
    return [path for path in (REPOSITORY / name for name in names if name) if path.is_file()]


def test_importing_mammolens_loads_no_heavy_module() -> None:
    loaded = modules_after("import mammolens; assert mammolens.__version__")
    assert loaded & (HEAVY | {"numpy", "pydantic", "typer", "rich"}) == set()


def test_help_loads_no_heavy_module() -> None:
    loaded = modules_after("from mammolens.cli.main import app_entry; app_entry()", "--help")
    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_who_asks_for_an_answer_loads_no_decoder(tmp_path: Path) -> None:
    """Decoding children load the libraries; here they would cost the start of every command a fifth of a second."""
    (tmp_path / "phantom").write_bytes(phantom.dicom(phantom.make(rows=400, columns=320)))
    loaded = modules_after(
        "from mammolens import Predictor; Predictor.from_bundle('default').predict(sys.argv[1])",
        str(tmp_path / "phantom"),
    )
    assert "onnxruntime" in loaded
    assert loaded & {"imagecodecs", "pydicom"} == set()


def test_public_names_come_from_their_rooms() -> None:
    for name in mammolens.__all__:
        assert getattr(mammolens, name) is not None
        assert name in dir(mammolens)
    assert mammolens.Predictor.__module__.startswith("mammolens.inference")
    assert mammolens.read_mammogram.__module__.startswith("mammolens.imaging")
    with pytest.raises(AttributeError, match="no_such_name"):
        mammolens.no_such_name  # noqa: B018


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in error_classes()]
    assert len(codes) >= 27
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert all("code" in vars(cls) for cls in error_classes())


def test_the_error_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn: dict[str, tuple[str, str | None]] = {}
    ancestors: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    (?P<lines>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?P<code>[a-z-]+)(?: {2,}.*)?", line)
        if match:
            depth = len(match["lines"]) // 4
            del ancestors[depth:]
            drawn[match["name"]] = match["code"], ancestors[-1] if ancestors else None
            ancestors.append(match["name"])
    built = {
        cls.__name__: (cls.code, None if cls is errors.MammolensError else cls.__bases__[0].__name__)
        for cls in error_classes()
    }
    assert drawn == built


def test_a_stored_code_becomes_the_class_of_this_tree_whatever_others_derive_from_it() -> None:
    derived = type("Derived", (errors.InputError,), {})
    found = errors.refusals()
    assert found["input-error"] is errors.InputError is not derived
    assert found["no-breast"] is errors.NoBreast
    assert set(found.values()) == {cls for cls in error_classes() if issubclass(cls, errors.InputError)} - {derived}


def test_every_setting_is_documented() -> None:
    table = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `MAMMOLENS_(\w+)` \|", table, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"| {field.description} |" in table, name


def test_documented_defaults_are_the_defaults() -> None:
    table = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        if name == "home":  # made from the environment; the table says how
            continue
        row = next(line for line in table.splitlines() if line.startswith(f"| `MAMMOLENS_{name.upper()}`"))
        assert row.split(" | ")[2].split()[0] == (str(field.default).lower() or "none"), name


def test_no_file_holds_a_machine_path_or_a_download_address() -> None:
    # Written in halves, so that this file passes its own test. A folder within a path is none of the machine's.
    words = ["/wor" + "k/", "/roo" + "t/", "file:" + "//", "--index-" + "url", "--find-" + "links"]
    forbidden = re.compile("|".join(rf"(?<!\w){word}" for word in words).encode())
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0].decode()}"
        for path in tracked_files()
        if b"\0" not in (raw := path.read_bytes())[:4096] and (match := forbidden.search(raw))
    ]
    assert found == []


def test_lock_files_hold_names_versions_and_hashes_only() -> None:
    pinned = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*( ; [a-zA-Z0-9_'<>=!.() -]+)? \\")
    hashed = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    versions: dict[str, set[str]] = {}
    for name in ("base", "build", "dev", "web"):
        lines = (REPOSITORY / "requirements" / f"{name}.lock").read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if not pinned.fullmatch(line) and not hashed.fullmatch(line)] == []
        for line in lines:
            if pinned.fullmatch(line):
                package, _, version = line.split()[0].partition("==")
                versions.setdefault(package, set()).add(version)
    assert {package: sorted(found) for package, found in versions.items() if len(found) > 1} == {}
    assert {"numpy", "pydicom", "keras", "pytest", "hatchling"} <= versions.keys()
    assert "torch" not in versions
