"""The guard: default deny, CSRF, headers, cookies, proxies, tokens."""

from __future__ import annotations

import datetime as dt
import os
import re
import stat
from typing import Any

import pytest
from flask import Flask, request

from mammolens.errors import ConfigurationError, InternalError
from mammolens.web.access import Permission, allow
from mammolens.web.database.tables import ApiToken, Role, User
from mammolens.web.security import tokens, users
from mammolens.web.security.front import refuse_unmarked
from mammolens.web.security.headers import CONTENT_SECURITY_POLICY
from mammolens.web.security.keys import application_key, derive


def add_route(app: Flask, path: str, permission: Permission | None, **options: Any) -> None:
    def view(**_values: object) -> str:
        return f"reached, {len(request.get_data())} bytes"

    marked = view if permission is None else allow(permission)(view)
    app.add_url_rule(path, endpoint=path.strip("/"), view_func=marked, **options)


def make_token(services: Any, person: Any, *scopes: Permission, days: int | None = 90) -> str:
    with services.database.session() as session:
        return tokens.make(session, session.get_one(User, person.id), "script", set(scopes), days)[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_application_with_a_view_that_names_no_permission_is_refused(app: Flask) -> None:
    refuse_unmarked(app)
    add_route(app, "/forgotten", None)
    with pytest.raises(InternalError, match="forgotten"):
        refuse_unmarked(app)


def test_view_that_names_no_permission_is_reached_by_nobody(app: Flask, client: Any, people: Any, sign_in: Any) -> None:
    add_route(app, "/forgotten", None)
    assert client.get("/forgotten").status_code == 403
    sign_in(client, people("chief", Role.ADMINISTRATOR))
    assert client.get("/forgotten").status_code == 403


@pytest.mark.parametrize(
    ("permission", "roles"),
    [
        (Permission.ACCOUNT, {Role.VIEWER, Role.READER, Role.ADMINISTRATOR}),
        (Permission.VIEW, {Role.VIEWER, Role.READER, Role.ADMINISTRATOR}),
        (Permission.UPLOAD, {Role.READER, Role.ADMINISTRATOR}),
        (Permission.ASSESS, {Role.READER, Role.ADMINISTRATOR}),
        (Permission.EXPORT, {Role.READER, Role.ADMINISTRATOR}),
        (Permission.DELETE, {Role.READER, Role.ADMINISTRATOR}),
        (Permission.ADMINISTER, {Role.ADMINISTRATOR}),
        (Permission.METRICS, {Role.ADMINISTRATOR}),
    ],
)
def test_view_is_reached_by_the_roles_that_have_its_permission_only(
    app: Flask, people: Any, sign_in: Any, permission: Permission, roles: set[Role]
) -> None:
    add_route(app, "/probe", permission)
    assert app.test_client().get("/probe").status_code == 401
    for role in Role:
        client = app.test_client()
        sign_in(client, people(role.value, role))
        assert client.get("/probe").status_code == (200 if role in roles else 403), role


def test_role_that_was_taken_away_is_gone_at_the_next_request(
    app: Flask, client: Any, people: Any, sign_in: Any, services: Any
) -> None:
    people("chief", Role.ADMINISTRATOR)
    second = people("second", Role.ADMINISTRATOR)
    sign_in(client, second)
    assert client.get("/users").status_code == 200
    with services.database.session() as session:
        users.set_role(session, "chief", session.get_one(User, second.id), Role.READER)
    assert client.get("/users").status_code == 403
    with services.database.session() as session:
        users.disable(session, "chief", session.get_one(User, second.id))
    assert client.get("/account").status_code == 401


def test_every_state_change_needs_the_token_of_its_own_session(
    app: Flask, people: Any, sign_in: Any, csrf: Any
) -> None:
    """Every route that takes POST, PUT, PATCH or DELETE: none without, none with another session's."""
    chief = people("chief", Role.ADMINISTRATOR)
    client, other = app.test_client(), app.test_client()
    sign_in(client, chief)
    sign_in(other, chief)
    foreign = csrf(other)
    tried = 0
    for rule in app.url_map.iter_rules():
        address = re.sub(r"<[^>]+>", "0" * 32, rule.rule)
        for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
            tried += 1
            for headers in ({}, foreign, {"X-CSRFToken": "forged"}):
                answer = client.open(address, method=method, headers=headers)
                assert answer.status_code == 400, (address, headers)
                assert "request-invalid" in answer.get_data(as_text=True)
    assert tried > 15
    assert client.get("/account").status_code == 200


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 303)])
def test_state_change_from_another_sites_page_is_refused_even_with_a_token(
    client: Any, people: Any, sign_in: Any, csrf: Any, site: str, status: int
) -> None:
    sign_in(client, people("nurse"))
    answer = client.post("/sign-out", headers={**csrf(client), "Sec-Fetch-Site": site})
    assert answer.status_code == status


def test_every_response_has_the_headers_failures_and_assets_too(
    app: Flask, client: Any, people: Any, sign_in: Any
) -> None:
    def fail() -> str:
        raise ZeroDivisionError("SECRET^NAME")

    app.add_url_rule("/fails", view_func=allow(Permission.PUBLIC)(fail))
    sign_in(client, people("chief", Role.ADMINISTRATOR))
    addresses = {"/nowhere": 404, "/fails": 500, "/static/base.css": 200, "/static/nowhere.css": 404, "/users": 200}
    for address, status in addresses.items():
        answer = client.get(address)
        answer.close()
        assert answer.status_code == status
        assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in answer.headers
        assert address.startswith("/static") or answer.headers["Cache-Control"] == "no-store"


def test_policy_allows_nothing_inline() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} <= set(
        CONTENT_SECURITY_POLICY.split("; ")
    )


def test_pages_hold_no_inline_script_and_no_style_attribute(client: Any, people: Any, sign_in: Any) -> None:
    pages = [client.get("/sign-in").get_data(as_text=True)]
    sign_in(client, people("chief", Role.ADMINISTRATOR))
    pages += [client.get(address).get_data(as_text=True) for address in ("/account", "/account/password", "/users")]
    for page in pages:
        assert not re.search(r"\sstyle\s*=|\son[a-z]+\s*=|<style|javascript:", page)
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.S)
        assert scripts
        assert all("src=" in attributes or 'type="application/json"' in attributes for attributes, _ in scripts)


def tls(**more: str) -> dict[str, str]:
    return {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": "lens.example", **more}


def test_behind_a_tls_proxy_with_a_prefix_cookie_links_and_redirections_fit(
    make_services: Any, app_of: Any, people: Any, csrf: Any
) -> None:
    opened = make_services(proxies=1, hsts=True)
    client = app_of(opened, "mammolens.web.views.account", "mammolens.web.views.users").test_client(use_cookies=False)
    nurse = people("nurse")
    headers = tls(**{"X-Forwarded-Prefix": "/lens"})
    page = client.get("/sign-in", headers=headers)
    assert 'action="/lens/sign-in"' in page.get_data(as_text=True)
    assert 'href="/lens/static/base.css"' in page.get_data(as_text=True)
    assert page.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
    set_cookie = page.headers["Set-Cookie"]
    assert set_cookie.startswith("__Secure-mammolens=")
    assert {"Secure", "HttpOnly", "Path=/lens", "SameSite=Lax"} <= set(set_cookie.split("; "))
    assert "Domain" not in set_cookie
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.get_data(as_text=True))
    assert token is not None
    fields = {"csrf_token": token[1], "name": nurse.name, "password": nurse.password, "next": "/account"}
    # The test's browser would go by the path that it asks for, from which the proxy has cut the prefix.
    cookie = {**headers, "Cookie": set_cookie.partition(";")[0]}
    answer = client.post("/sign-in", data=fields, headers=cookie)
    assert answer.status_code == 303
    assert answer.location == "/lens/"


def test_behind_tls_at_the_root_the_cookie_is_bound_to_the_host(make_services: Any, app_of: Any) -> None:
    client = app_of(make_services(proxies=1), "mammolens.web.views.account").test_client()
    set_cookie = client.get("/sign-in", headers=tls()).headers["Set-Cookie"]
    assert set_cookie.startswith("__Host-mammolens=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(set_cookie.split("; "))


def test_forwarded_headers_are_not_believed_without_a_proxy(client: Any) -> None:
    answer = client.get("/sign-in", headers=tls(**{"X-Forwarded-Prefix": "/evil"}))
    assert "/evil" not in answer.get_data(as_text=True)
    assert "lens.example" not in answer.get_data(as_text=True)
    assert answer.headers["Set-Cookie"].startswith("mammolens=")


def test_body_over_a_mebibyte_is_refused_unless_the_view_takes_uploads(app: Flask, people: Any, services: Any) -> None:
    add_route(app, "/plain", Permission.VIEW, methods=["POST"])
    add_route(app, "/upload", Permission.UPLOAD, methods=["POST"])
    headers = bearer(make_token(services, people("nurse"), Permission.VIEW, Permission.UPLOAD))
    client = app.test_client()
    body = bytes((1 << 20) + 1)
    assert client.post("/plain", data=body, headers=headers).status_code == 413
    assert client.post("/upload", data=body, headers=headers).get_data(as_text=True) == "reached, 1048577 bytes"


def test_token_reaches_what_its_scopes_name_and_never_an_account(app: Flask, people: Any, services: Any) -> None:
    add_route(app, "/see", Permission.VIEW)
    add_route(app, "/send", Permission.UPLOAD, methods=["POST"])
    nurse = people("nurse")
    token = make_token(services, nurse, Permission.VIEW)
    client = app.test_client()
    assert client.get("/see", headers=bearer(token)).status_code == 200
    assert client.post("/send", headers=bearer(token)).status_code == 403
    assert client.get("/account", headers=bearer(token)).status_code == 403
    assert client.get("/users", headers=bearer(token)).status_code == 403
    assert client.get("/see").status_code == 401
    both = make_token(services, nurse, Permission.VIEW, Permission.UPLOAD)
    assert client.post("/send", headers=bearer(both)).status_code == 200


def test_token_may_no_more_than_its_users_role_has_left(app: Flask, people: Any, services: Any) -> None:
    add_route(app, "/send", Permission.UPLOAD, methods=["POST"])
    nurse = people("nurse")
    headers = bearer(make_token(services, nurse, Permission.UPLOAD))
    with services.database.session() as session:
        users.set_role(session, "chief", session.get_one(User, nurse.id), Role.VIEWER)
    assert app.test_client().post("/send", headers=headers).status_code == 403


def test_wrong_over_revoked_and_disabled_tokens_are_refused_and_no_cookie_makes_up_for_it(
    app: Flask, client: Any, people: Any, services: Any, sign_in: Any, clock: Any
) -> None:
    add_route(app, "/see", Permission.VIEW)
    nurse, other = people("nurse"), people("other")
    sign_in(client, nurse)
    short, revoked = make_token(services, nurse, Permission.VIEW, days=1), make_token(services, nurse, Permission.VIEW)
    disabled = make_token(services, other, Permission.VIEW)
    with services.database.session() as session:
        tokens.revoke_all(session, nurse.id)
        session.get_one(User, other.id).active = False
    fresh = make_token(services, nurse, Permission.VIEW)
    for wrong in (short, revoked, disabled, "mml_" + "A" * 43, "", fresh + "x"):
        answer = client.get("/see", headers={**bearer(wrong), "Accept": "application/json"})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json["code"] == "sign-in-required"
    assert client.get("/see", headers={"Authorization": "Basic bnVyc2U6eA=="}).status_code == 401
    assert client.get("/see", headers=bearer(fresh)).status_code == 200
    one_day = make_token(services, nurse, Permission.VIEW, days=1)
    assert client.get("/see", headers=bearer(one_day)).status_code == 200
    clock.move(hours=25)
    assert client.get("/see", headers=bearer(one_day)).status_code == 401


def test_token_is_made_on_the_account_page_shown_once_and_kept_as_a_hash(
    client: Any, people: Any, sign_in: Any, send: Any, services: Any
) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    fields = {"name": "pacs", "scope": ["view", "upload"], "days": "30"}
    assert send(client, "/account/tokens", **fields, password="wrong").status_code == 400
    page = send(client, "/account/tokens", **fields, password=nurse.password)
    found = re.search(r"mml_[\w-]{43}", page.get_data(as_text=True))
    assert page.status_code == 201
    assert found is not None
    assert found[0] not in client.get("/account").get_data(as_text=True)
    with services.database.reading() as session:
        row = session.query(ApiToken).one()
    assert row.scopes == ["upload", "view"]
    assert row.ends - row.created > dt.timedelta(days=29, hours=23)
    services.database.close()
    assert found[0].encode() not in b"".join(path.read_bytes() for path in services.folder.glob("mammolens.db*"))
    for scope in ("administer", "account", "public", "nonsense", ""):
        more = {**fields, "scope": scope, "password": nurse.password}
        assert send(client, "/account/tokens", **more).status_code == 400
    assert send(client, f"/account/tokens/{row.id}/revoke").status_code == 303
    assert client.get("/account", headers=bearer(found[0])).status_code == 401


def test_one_user_does_not_revoke_anothers_token(
    client: Any, people: Any, sign_in: Any, send: Any, services: Any
) -> None:
    make_token(services, people("other"), Permission.VIEW)
    sign_in(client, people("nurse"))
    with services.database.reading() as session:
        row = session.query(ApiToken).one()
    assert send(client, f"/account/tokens/{row.id}/revoke").status_code == 404
    with services.database.reading() as session:
        assert session.query(ApiToken).one().revoked is None


def test_key_is_made_once_and_readable_by_its_owner_only(services: Any) -> None:
    first = application_key(services.folder)
    path = services.folder / "secret.key"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(services.folder).st_mode) == 0o700
    assert application_key(services.folder) == first
    assert len(first) == 64
    assert sorted(entry.name for entry in services.folder.iterdir() if "key" in entry.name) == ["secret.key"]
    path.write_bytes(first[:10])
    with pytest.raises(ConfigurationError):
        application_key(services.folder)


def test_derived_keys_are_hmac_sha256_of_purpose_and_data() -> None:
    """Second value by `openssl dgst -sha256 -mac HMAC` on the same bytes."""
    key = bytes(range(64))
    assert derive(key, "a", b"b") != derive(key, "ab", b"")
    expected = "4484932b7e0fa6c671e16f0a74e9525de113044ab2ed52fbc512e5d459a9db61"
    assert derive(key, "study", b"1.2.3").hex() == expected
