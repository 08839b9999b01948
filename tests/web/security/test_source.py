"""What the source of the web application never does, read off its syntax trees, scripts and templates."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
WEB = REPOSITORY / "src" / "mammolens" / "web"
TREES = {path.relative_to(WEB).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in WEB.rglob("*.py")}
SCRIPTS = {path.relative_to(WEB).as_posix(): path.read_text(encoding="utf-8") for path in WEB.rglob("static/**/*.js")}
PAGES = {
    path.relative_to(WEB).as_posix(): path.read_text(encoding="utf-8") for path in WEB.rglob("templates/**/*.html")
}


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of functions of these names, whatever they are called on."""
    for place, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in names:
                    yield place, node


def imported() -> dict[str, set[str]]:
    """Modules that are imported anywhere, with the places."""
    found: dict[str, set[str]] = {}
    for place, tree in TREES.items():
        for node in ast.walk(tree):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                found.setdefault(name, set()).add(place)
    return found


def test_there_is_something_to_read() -> None:
    assert len(TREES) > 80
    assert len(SCRIPTS) > 15
    assert len(PAGES) > 20
    assert "sqlalchemy" in imported()


def test_no_sql_is_put_together_from_input() -> None:
    """What is given to the database as text is a constant, or one of two."""
    written = list(calls("exec_driver_sql"))
    written += [(place, call) for place, call in calls("text") if isinstance(call.func, ast.Name)]
    assert len(written) >= 3
    for place, call in written:
        argument = call.args[0]
        parts = (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)
        known = {"statement"} if place.startswith("database/migrations/") else set()
        assert all(isinstance(part, ast.Constant) or getattr(part, "id", "") in known for part in parts), place


def test_no_shell_is_called_and_no_program_started() -> None:
    assert {name for name in imported() if name.split(".")[0] in ("subprocess", "pty", "commands")} == set()
    assert [place for place, _ in calls("system", "popen", "execv", "execvp", "spawnl", "posix_spawn")] == []


def test_no_regular_expression_is_built_from_input() -> None:
    found = [
        (place, call)
        for place, call in calls("compile", "sub", "match", "fullmatch", "search", "split", "findall", "finditer")
        if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "re"
    ]
    assert len(found) > 8
    assert [place for place, call in found if not isinstance(call.args[0], ast.Constant)] == []


def test_templates_are_files_of_the_package_and_escape() -> None:
    assert [place for place, _ in calls("render_template_string", "from_string")] == []
    assert [place for place, _ in calls("Markup")] == []
    # The one text that is not escaped is the QR code, which segno draws.
    assert [place for place, text in PAGES.items() if re.search(r"\|\s*safe\b", text)] == [
        "templates/account/second_step.html"
    ]
    assert [place for place, text in PAGES.items() if "autoescape" in text] == []


def test_no_format_string_comes_from_input() -> None:
    """A format is a constant, a constant by name, or a translated constant."""
    for place, call in calls("format"):
        if isinstance(call.func, ast.Attribute):
            base = call.func.value
            constant = isinstance(base, ast.Constant) or getattr(base, "id", "").isupper()
            assert constant or isinstance(base, (ast.Call, ast.Subscript)), place


def test_nothing_from_outside_is_unpickled() -> None:
    unsafe = {"pickle", "marshal", "shelve", "dill", "joblib", "yaml"}
    assert {name for name in imported() if name.split(".")[0] in unsafe} == set()
    for place, call in calls("load"):
        allowed = [keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle"]
        assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), place


def test_randomness_and_hashes_are_those_of_the_standard_library_made_for_it() -> None:
    names = imported()
    assert names.get("random", set()) == set()
    assert "secrets" in names
    assert [place for place, _ in calls("md5", "sha1", "new") if "hashlib" in place] == []
    assert [place for place, call in calls("md5", "sha1")] == []


def test_the_application_calls_nobody() -> None:
    outward = (
        "requests",
        "httpx",
        "urllib.request",
        "urllib3",
        "http.client",
        "smtplib",
        "ftplib",
        "xmlrpc",
        "aiohttp",
    )
    assert [name for name in imported() if name.startswith(outward)] == []


def test_every_asset_is_the_applications_own() -> None:
    namespaces = re.compile(r"https?://www\.w3\.org/")
    for place, text in {**SCRIPTS, **PAGES}.items():
        assert not re.search(r"https?://", namespaces.sub("", text)), place
    for path in WEB.rglob("static/**/*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_scripts_write_text_and_take_html_from_the_worklists_own_answer_only() -> None:
    ways = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser")
    assert [place for place, text in SCRIPTS.items() if ways.search(text)] == ["static/worklist/worklist.js"]


def test_scripts_run_no_text_and_are_plain_modules() -> None:
    assert [place for place, text in SCRIPTS.items() if re.search(r"\beval\(|new Function\(|importScripts", text)] == []
    assert [place for place, text in PAGES.items() if re.search(r"<(object|embed|applet|iframe|frame)\b", text)] == []


def test_scripts_merge_nothing_into_prototypes() -> None:
    assert [
        place for place, text in SCRIPTS.items() if re.search(r"__proto__|prototype\s*\[|setPrototypeOf", text)
    ] == []


def test_the_browser_keeps_nothing_but_whether_single_keys_work() -> None:
    keeps = re.compile(r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\.open")
    assert [place for place, text in SCRIPTS.items() if keeps.search(text)] == ["static/shell/keys.js"]


@pytest.mark.parametrize("folder", ["tests", "scripts", "docs"])
def test_the_wheel_holds_the_package_only(folder: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/mammolens"]
    assert not (REPOSITORY / "src" / "mammolens" / folder).exists()


def test_password_fields_hide_what_is_typed_and_let_managers_fill_and_paste() -> None:
    fields = [field for text in PAGES.values() for field in re.findall(r"<input[^>]*password[^>]*>", text)]
    assert len(fields) >= 3
    for field in fields:
        assert 'type="password"' in field, field
        assert re.search(r'autocomplete="(current|new)-password"', field), field
    assert [place for place, text in SCRIPTS.items() if re.search(r"[\"']paste[\"']", text)] == []
