"""Signing in and out: what opens a session, what ends it, and what nobody learns."""

from __future__ import annotations

import base64
import datetime as dt
import re
import time
from typing import Any

import pyotp
import pytest
from argon2 import PasswordHasher
from sqlalchemy import event, select

from mammolens.web.database.tables import AuditEvent, Role, SignIn, User
from mammolens.web.security import lockout, passwords, sessions
from mammolens.web.views import account


def rows(services: Any, kind: Any) -> list[Any]:
    with services.database.reading() as session:
        return list(session.scalars(select(kind)))


def cookie(browser: Any) -> str:
    found = browser.get_cookie("mammolens")
    return "" if found is None else found.value


def test_sign_in_opens_account_and_sign_out_ends_the_session_on_the_server(
    client: Any, people: Any, sign_in: Any, send: Any, services: Any
) -> None:
    nurse = people("nurse")
    assert client.get("/account").status_code == 401
    answer = sign_in(client, nurse)
    assert answer.location == "/"
    assert "nurse" in client.get("/account").get_data(as_text=True)
    stolen = cookie(client)
    assert send(client, "/sign-out").headers["Clear-Site-Data"] == '"cache", "storage"'
    assert client.get("/account").status_code == 401
    client.set_cookie("mammolens", stolen)
    assert client.get("/account").status_code == 401
    assert rows(services, SignIn)[0].revoked is not None
    assert [entry.action for entry in rows(services, AuditEvent)] == ["sign-in", "sign-out"]


def test_database_holds_neither_password_nor_cookie_secret(
    client: Any, people: Any, sign_in: Any, services: Any
) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    with client.session_transaction() as session:
        secret = session["_user_id"]
    services.database.close()
    stored = b"".join(path.read_bytes() for path in services.folder.glob("mammolens.db*"))
    assert len(secret) == 43  # 256 bits
    assert secret.encode() not in stored
    assert nurse.password.encode() not in stored
    assert b"nurse" in stored


def test_cookie_from_before_sign_in_is_worth_nothing_after_it(app: Any, client: Any, people: Any, sign_in: Any) -> None:
    """Session fixation: who planted the cookie does not get in with it."""
    client.get("/sign-in")
    planted = cookie(client)
    assert planted
    sign_in(client, people("nurse"))
    assert cookie(client) != planted
    attacker = app.test_client()
    attacker.set_cookie("mammolens", planted)
    assert attacker.get("/account").status_code == 401


def test_sign_in_again_rotates_the_session_and_ends_the_old_one(
    app: Any, client: Any, people: Any, sign_in: Any
) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    old = app.test_client()
    old.set_cookie("mammolens", cookie(client))
    assert old.get("/account").status_code == 200
    sign_in(client, nurse)
    assert client.get("/account").status_code == 200
    assert old.get("/account").status_code == 401


@pytest.mark.parametrize("forged", ["", "x", "eyJfdXNlcl9pZCI6IjEifQ.aaaaaa.bbbbbbbbbbbbbbbbbbbb", "\x00\xff" * 50])
def test_forged_cookie_is_nobody(client: Any, people: Any, forged: str) -> None:
    people("nurse")
    client.set_cookie("mammolens", forged)
    assert client.get("/account").status_code == 401


def test_session_ends_after_idle_minutes(client: Any, people: Any, sign_in: Any, clock: Any) -> None:
    sign_in(client, people("nurse"))
    for _ in range(4):
        clock.move(minutes=29)
        assert client.get("/account").status_code == 200
    clock.move(minutes=31)
    assert client.get("/account").status_code == 401


def test_session_ends_after_its_hours_however_busy_it_is(client: Any, people: Any, sign_in: Any, clock: Any) -> None:
    sign_in(client, people("nurse"))
    for _ in range(47):
        clock.move(minutes=15)
        assert client.get("/account").status_code == 200
    clock.move(minutes=16)
    assert client.get("/account").status_code == 401


def test_time_of_last_request_is_written_at_most_twice_a_minute(
    client: Any, people: Any, sign_in: Any, services: Any, clock: Any
) -> None:
    sign_in(client, people("nurse"))
    written: list[str] = []
    event.listen(services.database.engine, "before_cursor_execute", lambda *given: written.append(given[2]))
    for _ in range(5):
        client.get("/account")
    assert not [statement for statement in written if statement.startswith("UPDATE")]
    clock.move(seconds=31)
    client.get("/account")
    assert len([statement for statement in written if statement.startswith("UPDATE sign_ins")]) == 1


def test_own_sessions_are_listed_and_ended_and_others_are_not_found(
    app: Any, client: Any, people: Any, sign_in: Any, send: Any, services: Any
) -> None:
    nurse, other = people("nurse"), people("other")
    elsewhere, foreign = app.test_client(), app.test_client()
    sign_in(client, nurse)
    sign_in(elsewhere, nurse)
    sign_in(foreign, other)
    theirs = next(row.id for row in rows(services, SignIn) if row.user_id == other.id)
    assert send(client, f"/account/sessions/{theirs}/end").status_code == 404
    assert foreign.get("/account").status_code == 200
    with services.database.reading() as session:
        mine = [row.id for row in sessions.current(session, nurse.id, services.settings)]
    assert len(mine) == 2
    assert send(client, "/account/sessions/end-others").status_code == 303
    assert elsewhere.get("/account").status_code == 401
    assert client.get("/account").status_code == 200
    sign_in(elsewhere, nurse)
    with services.database.reading() as session:
        newest = sessions.current(session, nurse.id, services.settings)[0].id
    assert send(client, f"/account/sessions/{newest}/end").status_code == 303
    assert elsewhere.get("/account").status_code == 401


def test_fifth_wrong_password_makes_the_name_wait_and_each_further_one_longer(
    client: Any, people: Any, sign_in: Any, clock: Any, services: Any
) -> None:
    nurse = people("nurse")
    for _ in range(5):
        assert sign_in(client, nurse, "wrong").status_code == 401
    assert sign_in(client, nurse, nurse.password).status_code == 401
    clock.move(seconds=31)
    assert sign_in(client, nurse, "wrong").status_code == 401
    clock.move(seconds=31)
    assert sign_in(client, nurse, nurse.password).status_code == 401
    clock.move(seconds=30)
    assert sign_in(client, nurse, nurse.password).status_code == 303
    assert rows(services, User)[0].failures == 0


def test_wait_doubles_from_half_a_minute_to_a_quarter_of_an_hour() -> None:
    waits = [lockout.wait_after(failures).total_seconds() for failures in range(13)]
    assert waits == [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900]
    assert lockout.wait_after(10**9).total_seconds() == 900


def test_tries_while_the_name_waits_do_not_make_the_wait_longer(
    client: Any, people: Any, sign_in: Any, clock: Any
) -> None:
    nurse = people("nurse")
    for _ in range(15):
        sign_in(client, nurse, "wrong")
    clock.move(seconds=31)
    assert sign_in(client, nurse, nurse.password).status_code == 303


def test_known_unknown_waiting_and_disabled_names_get_the_same_answer_for_the_same_work(
    app: Any, people: Any, send: Any, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    people("known")
    waiting, disabled = people("waiting"), people("disabled")
    with services.database.session() as session:
        session.get_one(User, disabled.id).active = False
    for _ in range(5):
        send(app.test_client(), "/sign-in", name="waiting", password="wrong")

    cheap, checks = passwords.HASHER, []

    class Counting(PasswordHasher):
        def verify(self, stored: Any, password: Any) -> Any:
            checks.append(stored.rpartition("$")[0].rpartition("$")[0])
            return cheap.verify(stored, password)

    monkeypatch.setattr(passwords, "HASHER", Counting(time_cost=1, memory_cost=8, parallelism=1))
    writes: list[str] = []
    event.listen(services.database.engine, "commit", lambda _connection: writes.append("commit"))
    event.listen(
        services.database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_rest: writes.append(statement.split()[0]),
    )
    seen = []
    tried = (("known", "wrong"), ("nobody", "wrong"), ("waiting", waiting.password), ("disabled", disabled.password))
    send(app.test_client(), "/sign-in", name="nobody-before", password="wrong")
    for name, password in tried:
        checks.clear()
        writes.clear()
        answer = send(app.test_client(), "/sign-in", name=name, password=password)
        body = re.sub(r'csrf.token"( \w+="\w+")* (content|value)="[^"]+"', "", answer.get_data(as_text=True))
        headers = {key: value for key, value in answer.headers.items() if key not in ("Set-Cookie", "Date")}
        transactions = [
            bool({"INSERT", "UPDATE"} & set(part.split())) for part in " ".join(writes).split("commit") if part.strip()
        ]
        seen.append((answer.status_code, body, headers, tuple(checks), tuple(transactions)))
    assert seen[0][0] == 401
    assert seen[0][3] == ("$argon2id$v=19$m=8,t=1,p=1",)
    assert seen[0][4] == (True, True)
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]
    assert seen[3] == seen[0]


def test_unknown_name_is_not_written_down(client: Any, send: Any, services: Any) -> None:
    """It may be a password, typed into the wrong field."""
    send(client, "/sign-in", name="hunter2hunter2", password="")
    services.database.close()
    assert [entry.subject for entry in rows(services, AuditEvent)] == ["user unknown"]
    services.database.close()
    assert b"hunter2" not in b"".join(path.read_bytes() for path in services.folder.glob("mammolens.db*"))


def test_thirty_first_try_of_a_minute_from_one_address_is_refused(client: Any, send: Any) -> None:
    answers = [send(client, "/sign-in", name=f"name{number}", password="wrong") for number in range(31)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    assert answers[-1].headers["Retry-After"] == "60"


@pytest.mark.parametrize(
    "onward", ["https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
               "/\t/evil.example", "http:///evil.example", ""]
)  # fmt: skip
def test_sign_in_leads_to_no_other_site(client: Any, people: Any, send: Any, onward: str) -> None:
    nurse = people("nurse")
    answer = send(client, "/sign-in", name=nurse.name, password=nurse.password, next=onward)
    assert answer.status_code == 303
    assert answer.location == "/"


def test_sign_in_goes_on_where_it_was_asked_for(client: Any, people: Any, send: Any) -> None:
    nurse = people("nurse")
    page = client.get("/account?a=1&b=2")
    assert page.status_code == 401
    assert 'name="next" value="/account?a=1&amp;b=2"' in page.get_data(as_text=True)
    answer = send(client, "/sign-in", name=nurse.name, password=nurse.password, next="/account?a=1&b=2")
    assert answer.location == "/account?a=1&b=2"


def test_changing_the_password_needs_the_old_one_and_ends_other_sessions(
    app: Any, client: Any, people: Any, sign_in: Any, send: Any
) -> None:
    nurse, new = people("nurse"), "seven quiet herons knit"
    elsewhere = app.test_client()
    sign_in(client, nurse)
    sign_in(elsewhere, nurse)
    assert send(client, "/account/password", old="wrong", new=new, again=new).status_code == 400
    assert send(client, "/account/password", old=nurse.password, new=new, again=new + "x").status_code == 400
    assert elsewhere.get("/account").status_code == 200
    assert send(client, "/account/password", old=nurse.password, new=new, again=new).status_code == 303
    assert elsewhere.get("/account").status_code == 401
    assert client.get("/account").status_code == 200
    assert sign_in(elsewhere, nurse, nurse.password).status_code == 401
    assert sign_in(elsewhere, nurse, new).status_code == 303


def test_password_that_somebody_else_set_opens_only_the_page_to_change_it(
    app: Any, client: Any, people: Any, sign_in: Any, send: Any, services: Any
) -> None:
    chief, new = people("chief", Role.ADMINISTRATOR), "seven quiet herons knit"
    with services.database.session() as session:
        session.get_one(User, chief.id).must_change_password = True
    sign_in(client, chief)
    assert client.get("/users").location == "/account/password"
    assert send(client, "/groups", name="north").status_code == 403
    assert client.get("/account/password").status_code == 200
    assert send(client, "/account/password", old=chief.password, new=new, again=new).status_code == 303
    assert client.get("/users").status_code == 200


def turn_on(client: Any, person: Any, send: Any) -> pyotp.TOTP:
    send(client, "/account/second-step/begin", password=person.password)
    page = client.get("/account/second-step").get_data(as_text=True)
    found = re.search(r'class="secret">([A-Z2-7 ]+)<', page)
    assert found is not None
    assert "<svg" in page
    assert "style=" not in page
    app = pyotp.TOTP(found[1].replace(" ", ""))
    assert send(client, "/account/second-step/confirm", code="000000").status_code == 400
    # The code of the step before, so that the present one is left for the sign-in that follows.
    code = app.at(int(time.time()) - 30)
    assert send(client, "/account/second-step/confirm", code=code).status_code == 303
    return app


def test_second_step_asks_for_a_code_and_takes_each_once(
    app: Any, client: Any, people: Any, sign_in: Any, send: Any
) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    telephone = turn_on(client, nurse, send)
    browser, second = app.test_client(), app.test_client()
    for each in (browser, second):
        answer = sign_in(each, nurse)
        assert answer.location == "/sign-in/code"
        assert each.get("/account").status_code == 401
    code = telephone.now()
    assert send(browser, "/sign-in/code", code="not a code").status_code == 401
    assert send(browser, "/sign-in/code", code=f"{code[:3]} {code[3:]}").status_code == 303
    assert browser.get("/account").status_code == 200
    assert send(second, "/sign-in/code", code=code).status_code == 401
    assert second.get("/account").status_code == 401


def test_the_wait_for_a_code_ends_after_five_minutes(
    app: Any, client: Any, people: Any, sign_in: Any, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    telephone = turn_on(client, nurse, send)
    browser = app.test_client()
    sign_in(browser, nurse)
    assert browser.get("/sign-in/code").status_code == 200
    late = account.now() + dt.timedelta(minutes=5, seconds=1)
    monkeypatch.setattr(account, "now", lambda: late)
    assert browser.get("/sign-in/code").location == "/sign-in"
    assert send(browser, "/sign-in/code", code=telephone.now()).status_code != 200
    assert browser.get("/account").status_code == 401


def test_right_password_does_not_reset_the_count_of_wrong_codes(
    app: Any, client: Any, people: Any, sign_in: Any, send: Any, services: Any
) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    telephone = turn_on(client, nurse, send)
    browser = app.test_client()
    sign_in(browser, nurse)
    for _ in range(4):
        assert send(browser, "/sign-in/code", code="000000").status_code == 401
    assert send(browser, "/sign-in/code", code=telephone.now()).status_code == 401
    assert rows(services, User)[0].locked_until is not None


def test_second_step_secret_is_not_in_the_database(
    client: Any, people: Any, sign_in: Any, send: Any, services: Any
) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    telephone = turn_on(client, nurse, send)
    services.database.close()
    stored = b"".join(path.read_bytes() for path in services.folder.glob("mammolens.db*"))
    assert telephone.secret.encode() not in stored
    assert base64.b32decode(telephone.secret) not in stored


def test_turning_the_second_step_off_needs_the_password(client: Any, people: Any, sign_in: Any, send: Any) -> None:
    nurse = people("nurse")
    sign_in(client, nurse)
    turn_on(client, nurse, send)
    assert send(client, "/account/second-step/off", password="wrong").status_code == 400
    assert sign_in(client.application.test_client(), nurse).location == "/sign-in/code"
    assert send(client, "/account/second-step/off", password=nurse.password).status_code == 303
    assert sign_in(client.application.test_client(), nurse).location == "/"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36",
         "Chrome · Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox · Windows"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/150.0 Safari/537.36 Edg/150.0", "Edge · Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1", "Safari · iOS"),
        ("curl/8.0", ""),
    ],
)  # fmt: skip
def test_browser_is_named_in_two_words(agent: str, words: str) -> None:
    assert sessions.browser_of(agent) == words


def test_wrong_password_is_told_in_the_readers_language(client: Any, people: Any, csrf: Any) -> None:
    nurse = people("nurse")
    fields = {"name": nurse.name, "password": "wrong"}
    answer = client.post("/sign-in", data=fields, headers={**csrf(client), "Accept-Language": "de"})
    assert "Name oder Passwort ist falsch" in answer.get_data(as_text=True)
