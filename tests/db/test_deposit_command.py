"""A deposit made by a script while others use the product."""

import make
import pytest

from mespieces.cli import deposit as command
from mespieces.domain import passwords, retention
from mespieces.gateways.storage import StorageUnavailable


def test_every_access_is_issued_while_others_write(gateways, monkeypatch):
    filed = make.filed(gateways, blanks=1, recipients=("Alexandre Payet", "Béatrice Roux", "Claude Petit"))
    stretch = passwords.stretch

    def beside_others(secret):
        assert make.threads(1, lambda: retention.beat(gateways)) == [None]
        return stretch(secret)

    monkeypatch.setattr(passwords, "stretch", beside_others)

    assert sorted(row.name for row, _, _ in command._issue(gateways, filed)) == [
        "Alexandre Payet",
        "Béatrice Roux",
        "Claude Petit",
    ]


def test_what_gives_way_after_filing_says_that_the_deposit_is_filed(gateways, monkeypatch):
    filed = make.filed(gateways, blanks=1)

    def fail(_secret):
        raise StorageUnavailable(reason="une opération a échoué", where="documents")

    monkeypatch.setattr(passwords, "stretch", fail)

    with pytest.raises(command.SheetsMissing, match="est fait"):
        command._issue(gateways, filed)
