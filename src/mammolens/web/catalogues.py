"""Which words of the web application a person reads, and where its catalogues lie.

Templates and modules mark them with ``_()`` and its kin; the messages of errors that the application raises are taken
too, as `mammolens.web.wording.explain` looks them up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

WEB = Path(__file__).resolve().parent
LOCALE = WEB / "locale"
ERRORS = (
    "CaseConflict",
    "DatabaseUnavailable",
    "InternalError",
    "NotFound",
    "Overloaded",
    "PermissionMissing",
    "QuotaExceeded",
    "RequestInvalid",
    "SignInRequired",
    "StorageFull",
    "TooLarge",
)
METHODS = [("**/templates/**.html", "jinja2"), ("**.py", "python")]
OPTIONS = {"**/templates/**.html": {"encoding": "utf-8", "silent": "false"}}


def messages() -> Catalog:
    """Gather all messages of the sources, in the order of files and lines."""
    found = Catalog(project="Mammolens", fuzzy=False)
    _gather(found, DEFAULT_KEYWORDS | {"lazy_gettext": None}, whole=False)
    _gather(found, dict.fromkeys(ERRORS, None), whole=True)
    return found


def _gather(found: Catalog, keywords: dict[str, Any], whole: bool) -> None:
    """Add what the calls named hold; of the ends of messages that begin with a value, where ``whole``, nothing."""
    for path, line, message, comments, context in extract_from_dir(
        WEB, METHODS, OPTIONS, keywords, comment_tags=("Translators:",), strip_comment_tags=True
    ):
        if whole and not (isinstance(message, str) and message[:1].isupper() and message.endswith(".")):
            continue
        found.add(message, None, [(path.replace("\\", "/"), line)], auto_comments=comments, context=context)


def place_of(language: str) -> Path:
    """Give the file of a language's catalogue; the compiled one lies beside it, with the ending ``.mo``."""
    return LOCALE / language / "LC_MESSAGES" / "messages.po"


def read(language: str) -> Catalog:
    """Read a language's catalogue."""
    with place_of(language).open("rb") as file:
        return read_po(file, locale=language)


def update(language: str) -> Catalog:
    """Bring a language's catalogue up to the sources and compile it.

    What is new in the sources stands in it without translation; what is gone is taken out. Nothing is guessed.

    Returns
    -------
    Catalog
    """
    place = place_of(language)
    catalogue = read(language) if place.exists() else Catalog(locale=language, project="Mammolens", fuzzy=False)
    catalogue.update(messages(), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        write_po(file, catalogue, width=110, include_lineno=False, sort_output=True)
    with place.with_suffix(".mo").open("wb") as file:
        write_mo(file, catalogue)
    return catalogue


def missing(catalogue: Catalog) -> list[str]:
    """List the messages of a catalogue that lack their translation, or a form of it."""
    lacking = []
    for message in catalogue:
        forms = message.string if isinstance(message.string, tuple | list) else (message.string,)
        if message.id and (message.fuzzy or not all(forms)):
            lacking.append(message.id if isinstance(message.id, str) else message.id[0])
    return lacking
