"""Every word that a person reads comes in every language, and the reader's choice of language and theme holds."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from flask import Flask
from flask.testing import FlaskClient

from mammolens import errors
from mammolens.errors import MammolensError, RequestInvalid
from mammolens.web import catalogues, language
from mammolens.web.app import Services
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Role, User
from mammolens.web.wording import ERRORS, NOTICES, explain

OTHERS = [code for code in language.LANGUAGES if code != "en"]
SOURCE = Path(errors.__file__).parent


def forms_of(message: Message) -> list[str]:
    return list(message.string) if isinstance(message.string, tuple | list) else [message.string]


def ids_of(message: Message) -> list[str]:
    return list(message.id) if isinstance(message.id, tuple | list) else [message.id]


def written(catalogue: Catalog) -> dict[Any, Message]:
    return {tuple(ids_of(message)): message for message in catalogue if message.id}


@pytest.mark.parametrize("code", OTHERS)
def test_no_message_of_the_sources_is_untranslated(code: str) -> None:
    catalogue = catalogues.read(code)
    assert catalogues.missing(catalogue) == []
    wanted, found = set(written(catalogues.messages())), set(written(catalogue))
    assert wanted - found == set(), "run scripts/catalogue and translate what it names"
    assert found - wanted == set(), "run scripts/catalogue: these are said nowhere any more"
    assert len(wanted) > 500


@pytest.mark.parametrize("code", OTHERS)
def test_compiled_catalogue_says_what_the_written_one_says(code: str) -> None:
    place = catalogues.place_of(code)
    compiled = written(read_mo(io.BytesIO(place.with_suffix(".mo").read_bytes())))
    assert {key: forms_of(message) for key, message in compiled.items()} == {
        key: forms_of(message) for key, message in written(catalogues.read(code)).items()
    }


@pytest.mark.parametrize("code", OTHERS)
def test_translations_keep_the_places_of_values(code: str) -> None:
    place = re.compile(r"%\(\w+\)[sd]|\{\w+\}|%%")
    for message in written(catalogues.read(code)).values():
        wanted = sorted(place.findall(ids_of(message)[-1]))
        for form in forms_of(message)[1:] or forms_of(message):
            assert sorted(place.findall(form)) == wanted, message.id


def library_codes() -> set[str]:
    found: set[str] = set()
    open_classes: list[type[MammolensError]] = [MammolensError]
    while open_classes:
        kind = open_classes.pop()
        found.add(kind.code)
        open_classes += kind.__subclasses__()
    return {code for code in found if not code.startswith("test-")}


def test_every_error_code_has_its_sentence() -> None:
    drawn = set(re.findall(r"^    .*[A-Za-z]\s+([a-z]+(?:-[a-z]+)+)(?:\s|$)", errors.__doc__ or "", re.MULTILINE))
    assert len(drawn) > 40
    assert drawn <= set(ERRORS)
    assert library_codes() <= set(ERRORS)


def test_every_notice_of_the_library_has_its_sentence() -> None:
    found = set()
    for path in [*SOURCE.glob("imaging/*.py"), *SOURCE.glob("inference/**/*.py"), *SOURCE.glob("models/*.py")]:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'Notice\(\s*"([a-z-]+)"', text))
        if "Notice(CODE" in text:
            found |= set(re.findall(r'^CODE = "([a-z-]+)"', text, re.MULTILINE))
    assert len(found) >= 12
    assert found == set(NOTICES)


def test_templates_hold_no_word_outside_the_catalogue() -> None:
    names = {
        "Inferno",
        "Cividis",
        "Enter",
        "Mammolens",
        "Python",
        "GiB",
        "BI",
        "RADS",
        "BI-RADS",
        "AUC",
        "CSV",
        "PDF",
        "JSON",
        "PNG",
        "MiB",
        "UTC",
        "SHA",
        "mm",
        "px",
    }
    keys = re.compile(r"<kbd>.*?</kbd>", re.DOTALL)
    hidden = re.compile(
        r"\{#.*?#\}|\{% block page_class %\}.*?\{% endblock %\}|<(script|style)\b[^>]*>.*?</\1>|<!--.*?-->", re.DOTALL
    )
    marks = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
    spoken = re.compile(r'\b(?:aria-label|title|placeholder|alt)="([^"]*)"')
    seen = 0
    for path in sorted(catalogues.WEB.glob("templates/**/*.html")):
        if path.name == "plain.html":  # the page for when nothing works, languages among it
            continue
        seen += 1
        text = marks.sub(" ", keys.sub(" ", hidden.sub(" ", path.read_text(encoding="utf-8"))))
        loose = " ".join([re.sub(r"<[^>]*>", " ", text), *spoken.findall(text)])
        loose = re.sub(r"&\w+;", " ", loose)
        words = [word for word in re.findall(r"[A-Za-z]{2,}[A-Za-z-]*", loose) if word.strip("-") not in names]
        assert words == [], f"{path.name}: put these into _()"
    assert seen > 15


def head_of(page: str) -> tuple[str, str]:
    found = re.search(r'<html lang="(\w+)" data-theme="(\w+)"', page)
    assert found
    return found[1], found[2]


@pytest.mark.parametrize(
    ("asked", "given"), [("de-AT,de;q=0.9,en;q=0.5", "de"), ("fr,en;q=0.1", "en"), ("fr", "en"), ("", "en")]
)
def test_language_follows_the_browser_before_sign_in(client: FlaskClient, asked: str, given: str) -> None:
    page = client.get("/sign-in", headers={"Accept-Language": asked}).text
    assert head_of(page)[0] == given
    assert ("Passwort" in page) is (given == "de")


def test_a_choice_before_sign_in_stays_in_the_browser(
    client: FlaskClient, csrf: Callable[[FlaskClient], dict[str, str]]
) -> None:
    assert head_of(client.get("/sign-in").text) == ("en", "dark")
    answer = client.post("/look", data={"theme": "light", "language": "de", "back": "/sign-in"}, headers=csrf(client))
    assert (answer.status_code, answer.location) == (303, "/sign-in")
    for cookie in answer.headers.getlist("Set-Cookie"):
        if cookie.startswith("mammolens_"):
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie
    assert head_of(client.get("/sign-in").text) == ("de", "light")


def test_a_choice_after_sign_in_stays_with_the_user(
    app: Flask,
    services: Services,
    client: FlaskClient,
    people: Callable[..., Any],
    sign_in: Callable[..., Any],
    csrf: Callable[[FlaskClient], dict[str, str]],
) -> None:
    person = people("reader")
    sign_in(client, person)
    headers = csrf(client) | {"Accept": "application/json"}
    assert client.post("/look", data={"language": "de"}, headers=headers).status_code == 204
    with services.database.reading() as session:
        assert session.get_one(User, person.id).preferences["language"] == "de"
    elsewhere = app.test_client()
    sign_in(elsewhere, person)
    page = elsewhere.get("/").text
    assert head_of(page)[0] == "de"
    assert "Arbeitsliste" in page


@pytest.mark.parametrize("values", [{"theme": "pink"}, {"language": "tlh"}])
def test_an_unknown_choice_is_refused(
    client: FlaskClient, csrf: Callable[[FlaskClient], dict[str, str]], values: dict[str, str]
) -> None:
    assert client.post("/look", data=values, headers=csrf(client)).status_code == 400


@pytest.mark.parametrize(
    "address", ["https://evil.example/", "//evil.example/", "/\\evil.example/", "javascript:alert(1)", "", "evil"]
)
def test_the_way_back_leads_to_no_other_site(
    client: FlaskClient, csrf: Callable[[FlaskClient], dict[str, str]], address: str
) -> None:
    answer = client.post("/look", data={"theme": "dark", "back": address}, headers=csrf(client))
    assert answer.location == "/"


@pytest.mark.parametrize(
    ("role", "shown", "not_shown"),
    [
        (Role.VIEWER, {"/", "/disagreements"}, {"/users", "/administration/"}),
        (Role.ADMINISTRATOR, {"/", "/users", "/administration/"}, set()),
    ],
)
def test_the_head_links_to_what_one_may_see(
    client: FlaskClient,
    people: Callable[..., Any],
    sign_in: Callable[..., Any],
    role: Role,
    shown: set[str],
    not_shown: set[str],
) -> None:
    sign_in(client, people("somebody", role))
    page = client.get("/").text
    head = page[: page.index("<main")]
    linked = set(re.findall(r'<a href="([^"]+)"', head))
    assert shown <= linked
    assert not not_shown & linked
    assert re.search(r'<a href="/" aria-current="page">', head)


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (20, "just now", "gerade eben"),
        (-5, "just now", "gerade eben"),
        (130, "2 min ago", "vor 2 min"),
        (3 * 3600 + 5, "3 h ago", "vor 3 h"),
        (24 * 3600 + 5, "1 day ago", "vor 1 Tag"),
        (49 * 3600, "2 days ago", "vor 2 Tagen"),
    ],
)
def test_moments_are_said_as_people_say_them(app: Flask, seconds: int, english: str, german: str) -> None:
    for code, wanted in (("en", english), ("de", german)):
        with app.test_request_context("/", headers={"Accept-Language": code}):
            assert language.moment_words(now() - dt.timedelta(seconds=seconds)) == wanted


def test_an_error_is_explained_in_the_readers_language(app: Flask) -> None:
    known = RequestInvalid("A BI-RADS category is a whole number from 0 to 6.")
    unknown = RequestInvalid("Something that no catalogue has, 100 % sure.")
    with app.test_request_context("/", headers={"Accept-Language": "de"}):
        assert explain(known) == "Eine BI-RADS-Kategorie ist eine ganze Zahl von 0 bis 6."
        assert explain(unknown).startswith("Ein Wert passt nicht.")
    with app.test_request_context("/", headers={"Accept-Language": "en"}):
        assert explain(unknown) == unknown.message


@pytest.mark.parametrize("code", ["en", "de"])
def test_a_refused_file_is_explained_without_the_command_lines_advice(app: Flask, code: str) -> None:
    error = errors.WrongModality("The header says that this is no mammogram. Give one; --any-modality reads it.")
    with app.test_request_context("/", headers={"Accept-Language": code}):
        told = explain(error)
        assert told == str(ERRORS["wrong-modality"])
    assert "--any-modality" not in told
    assert told.startswith({"en": "Not a mammogram", "de": "Keine Mammographie"}[code])
