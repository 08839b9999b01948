"""Administration: models, retention, the audit log, the state of the system."""

from __future__ import annotations

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from mammolens.errors import BundleError, CaseConflict, RequestInvalid
from mammolens.web import audit, models_in_use
from mammolens.web.access import Permission, actor, allow
from mammolens.web.administration import audit_log, imports, models
from mammolens.web.administration.state import state
from mammolens.web.app import reading, services
from mammolens.web.wording import explain
from mammolens.web.work import retention

pages = Blueprint("administration", __name__, url_prefix="/administration")


def register(app: Flask) -> None:
    """Add the pages to the application."""
    app.register_blueprint(pages)


@pages.get("/")
@allow(Permission.ADMINISTER)
def index() -> str:
    """Show models, retention and the state of the system."""
    return _page(None)


@pages.post("/models/switch")
@allow(Permission.ADMINISTER)
def switch_model() -> ResponseReturnValue:
    """Put an installed model in use."""
    try:
        use = models.switch(services(), request.form.get("place", ""), actor().name)
    except (BundleError, CaseConflict) as error:
        return _page(explain(error)), 409
    return _in_use(use)


@pages.post("/models/roll-back")
@allow(Permission.ADMINISTER)
def roll_back() -> ResponseReturnValue:
    """Put the model in use that was before."""
    try:
        use = models.roll_back(services(), actor().name)
    except (BundleError, CaseConflict) as error:
        return _page(explain(error)), 409
    return _in_use(use)


@pages.post("/models/import")
@allow(Permission.ADMINISTER)
def import_model() -> ResponseReturnValue:
    """Begin to import a model file that lies in the server's import folder."""
    form = request.form
    try:
        stated = imports.asked(*(form.get(name, "").strip() for name in ("architecture", "size", "scale", "classes")))
        imports.start(
            services(),
            actor().name,
            form.get("file", ""),
            stated,
            name=form.get("name", "").strip(),
            foreign=form.get("foreign") == "yes",
        )
    except CaseConflict as error:
        return _page(explain(error)), 409
    except RequestInvalid as error:
        return _page(explain(error)), 400
    flash(_("The import has begun. Load this page again to see how it stands."))
    return redirect(url_for("administration.index"), 303)


@pages.post("/retention")
@allow(Permission.ADMINISTER)
def set_retention() -> ResponseReturnValue:
    """Choose after how many days cases are deleted for good."""
    text = request.form.get("days", "").strip()
    try:
        if text and not (text.isascii() and text.isdigit() and len(text) <= 6):
            raise RequestInvalid("Give a whole number of days, or nothing to keep all cases.")
        with services().database.session() as session:
            retention.set_days(session, int(text) if text else None, actor().name)
    except RequestInvalid as error:
        return _page(explain(error)), 400
    flash(_("The days of retention are kept."))
    return redirect(url_for("administration.index"), 303)


@pages.get("/audit")
@allow(Permission.ADMINISTER)
def audit_pages() -> str:
    """Show the audit log."""
    return _audit(None)


@pages.post("/audit/verify")
@allow(Permission.ADMINISTER)
def verify_audit() -> str:
    """Go through the chain of the audit log, and show what was found."""
    return _audit(audit.verify(reading()))


def _audit(verified: audit.Verified | None) -> str:
    wanted = audit_log.Filter.of(request.args)
    before = request.args.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= 15):
        raise RequestInvalid("This page of the log does not exist. Begin with the first.")
    entries, older = audit_log.page(reading(), wanted, int(before) if before else None)
    return render_template(
        "administration/audit.html",
        entries=entries,
        older=older,
        wanted=wanted,
        actions=audit_log.actions(reading()),
        verified=verified,
    )


def _in_use(use: models_in_use.Use) -> ResponseReturnValue:
    models.refresh_in_background(services(), use)
    flash(
        _(
            "%(name)s, version %(version)s, is in use. It answers from the next picture on.",
            name=use.name,
            version=use.version,
        )
    )
    return redirect(url_for("administration.index"), 303)


def _page(message: str | None) -> str:
    opened, session = services(), reading()
    used = models_in_use.history(session)
    return render_template(
        "administration/index.html",
        message=message,
        use=models_in_use.current(session),
        models=models_in_use.available(),
        history=used,
        files=imports.candidates(opened),
        folder=imports.folder(opened),
        last_import=imports.state(session),
        choices={"architecture": imports.ARCHITECTURES, "scale": imports.SCALES, "classes": imports.CLASSES},
        days=retention.days(session),
        most_days=retention.LONGEST_DAYS,
        state=state(opened, session),
    )
