"""Which passwords may be chosen, and how they are kept."""

from __future__ import annotations

import hashlib
import re

import pytest
from argon2 import PasswordHasher, extract_parameters

from mammolens.errors import InternalError, RequestInvalid
from mammolens.web.security import passwords


def test_hash_is_argon2id_with_the_second_recommended_parameters_of_rfc_9106() -> None:
    stored = passwords.hash_password("violet tractor hums at noon")
    found = extract_parameters(stored)
    assert stored.startswith("$argon2id$")
    assert (found.memory_cost, found.time_cost, found.parallelism) == (65536, 3, 4)
    assert (found.salt_len, found.hash_len) == (16, 32)
    assert passwords.verify_password(stored, "violet tractor hums at noon")
    assert not passwords.verify_password(stored, "violet tractor hums at Noon")


@pytest.mark.parametrize(
    "password",
    [
        "", "short", "elevenchars", "passwordpassword", "123456789012", "qwertyuiop12", "aaaaaaaaaaaaaaaaaaaa",
        "nurse.miller1", "mammolens2026", "iloveyouiloveyou", "x" * 257,
    ],
)  # fmt: skip
def test_short_and_guessable_passwords_are_refused(password: str) -> None:
    with pytest.raises(RequestInvalid):
        passwords.check_new_password(password, "nurse.miller")


@pytest.mark.parametrize(
    "password",
    [
        "violet tractor hums at noon", "Жёлтый кит поёт в саду", "乳房X線撮影の長い合言葉です", "kX9#vLq2$wPz",
        hashlib.sha512(b"long").hexdigest(),
    ],
)  # fmt: skip
def test_any_characters_and_no_rules_of_composition(password: str) -> None:
    passwords.check_new_password(password, "nurse")
    assert passwords.verify_password(passwords.hash_password(password), password)


def test_limits_are_told_as_they_are() -> None:
    for password, limit in (("short", passwords.MINIMUM), ("x" * 300, passwords.MAXIMUM)):
        with pytest.raises(RequestInvalid, match=f" {limit} characters"):
            passwords.check_new_password(password)


def test_random_passwords_are_good_enough_and_differ() -> None:
    drawn = {passwords.random_password() for _ in range(200)}
    assert len(drawn) == 200
    for password in list(drawn)[:3]:
        assert re.fullmatch(r"([a-km-np-z2-9]{6}-){3}[a-km-np-z2-9]{6}", password)
        passwords.check_new_password(password)


def test_nobodys_hash_costs_what_a_users_does_and_fits_nothing(cheap_argon2: None) -> None:
    assert not passwords.verify_password(None, "")
    assert not passwords.verify_password(None, "violet tractor hums at noon")


def test_damaged_hash_is_an_error_and_no_wrong_password() -> None:
    with pytest.raises(InternalError):
        passwords.verify_password("not a hash", "x")


def test_password_over_the_limit_is_not_hashed_whole(cheap_argon2: None) -> None:
    stored = passwords.hash_password("x" * 300)
    assert not passwords.verify_password(stored, "x" * 300)


def test_hash_for_unknown_names_is_ready_before_the_first_of_them(
    cheap_argon2: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class Counting(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            made.append("hash")
            return super().hash(password, salt=salt)

    monkeypatch.setattr(passwords, "HASHER", Counting(time_cost=1, memory_cost=8, parallelism=1))
    passwords.prepare()
    assert made == ["hash"]
    assert not passwords.verify_password(None, "x")
    assert made == ["hash"]
