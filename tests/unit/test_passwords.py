"""Secrets stretched before they are stored, and the passwords that would be guessed."""

import threading

import pytest

from mespieces.domain import offices, passwords


def test_a_secret_is_recognised_and_no_other_is():
    stored = passwords.stretch("V5JWYQPGQ30KBSS9W35W")

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "V5JWY" not in stored
    assert passwords.matches("V5JWYQPGQ30KBSS9W35W", stored)
    assert not passwords.matches("V5JWYQPGQ30KBSS9W35X", stored)
    assert not passwords.matches("", stored)


def test_the_same_secret_is_never_stored_twice_alike():
    assert passwords.stretch("secret") != passwords.stretch("secret")


def test_nothing_matches_where_nothing_is_stored():
    assert not passwords.matches("anything", None)


def test_as_much_work_is_done_where_nothing_is_stored():
    costs = [stored.split("$")[1:4] for stored in (passwords.stretch("secret"), passwords._NOBODY)]

    assert costs == [["argon2id", "v=19", "m=19456,t=2,p=1"]] * 2


def test_more_people_than_there_are_slots_are_all_answered():
    stored, answers = passwords.stretch("secret"), []
    threads = [threading.Thread(target=lambda: answers.append(passwords.matches("secret", stored))) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [True] * 9


@pytest.mark.parametrize(
    "password",
    ["corbeau vallée trottoir 9", "x7#kQ!pZ29vLm", "ж" * 3 + "correct cheval agrafe", "a long sentence " * 10],
)
def test_a_password_nobody_would_guess_is_taken(password):
    offices.check_password(password, "Camille Marchand", "camille@example.fr")


@pytest.mark.parametrize(
    "password",
    ["", "court", "motdepasse2026", "azertyuiop123", "Bonjour123456", "aaaaaaaaaaaaaaaa", "commissaire2026",
     "camillemarchand", "MotDePasse2026!", "camille@example.fr", "Camille@Example.fr1"],
)  # fmt: skip
def test_a_password_somebody_would_guess_is_refused(password):
    with pytest.raises(offices.PasswordWeak):
        offices.check_password(password, "Camille Marchand", "camille@example.fr", "SCP Lefèvre & Marchand")
