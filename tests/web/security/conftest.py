"""The guard with the pages of accounts and users, and a clock that tests move."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mammolens.web.app import Services
from mammolens.web.database import columns
from mammolens.web.security import lockout, sessions, tokens


class Clock:
    """Stands in for `columns.now`."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta(0)

    def __call__(self) -> dt.datetime:
        return columns.now() + self.ahead

    def move(self, **interval: float) -> None:
        self.ahead += dt.timedelta(**interval)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the time of sessions, tokens and lock-outs; ``clock.move(minutes=31)``."""
    made = Clock()
    for module in (sessions, lockout, tokens):
        monkeypatch.setattr(module, "now", made)
    return made


@pytest.fixture
def app(services: Services, app_of: Callable[..., Flask]) -> Flask:
    """Make the guard and the pages of accounts and users, without the other rooms."""
    return app_of(services, "mammolens.web.views.account", "mammolens.web.views.users")


@pytest.fixture
def send(csrf: Callable[[FlaskClient], dict[str, str]]) -> Callable[..., object]:
    """Send a form: ``send(client, "/account/password", old=…, new=…)``."""

    def post(browser: FlaskClient, address: str, **fields: object) -> object:
        return browser.post(address, data=fields, headers=csrf(browser))

    return post
