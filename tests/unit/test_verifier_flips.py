"""Thousands of single bits changed in an export or a receipt: none goes unseen."""

import hashlib
import importlib.util
import random
from datetime import timedelta
from pathlib import Path

import authority as authorities
import pytest

from mespieces.verifier import audit, merkle, receipt
from mespieces.verifier.export import Unreadable


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = load("journal_maker")
Files = load("test_verifier_export").Files
SEED, FLIPS = 1124, 5_000
HELPS_NOBODY = {"timestamps/certificates.pem"}
"""Written for the convenience of who verifies by other means: nothing is read of it, nothing depends on it."""


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    return authorities.Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def journal(tsa):
    """A journal that continues another, was dated, and forgot an address in its time."""
    before = maker.ordinary(3)
    after = maker.Journal(4, key=before.key)
    root = merkle.root(before.leaves).hex()
    cited = {"log": before.log, "size": 9, "head": before.leaves[-1].hex(), "checkpoint": {"size": 9, "root": root}}
    after.add("journal.opened", detail={"reopened": cited})
    after.add("deposit.filed")
    after.add("document.consulted", trace={"address": "::1", "agent": "é"})
    signed = after.checkpoint()
    token = tsa.reply(tsa.query(signed))
    after.tokens["3.1.tsr"] = token
    after.add("journal.anchored", detail={"size": 3, "number": 1, "sha256": hashlib.sha256(token).hexdigest()})
    ranges = [{"from": 2, "to": 2, "group": "trace"}]
    after.add("journal.purged", detail={"ranges": ranges, "reason": "12 mois"}, after=timedelta(days=370))
    after.records[2][2] = None
    after.close()
    after.before = {f"previous/{before.log}/{name}": data for name, data in before.files().items()}
    return after


def flipped(data, chance):
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_every_one_of_5000_random_bits_changed_in_an_export_is_found(journal, tsa):
    files = {**journal.files(), **journal.before, "timestamps/certificates.pem": tsa.pem.read_bytes()}
    intact = audit.verify(Files(files), audit.Trust(keys=[journal.verifier], roots=[tsa.root]))
    assert (intact.findings, intact.bound, intact.logs[0].purged, bool(intact.logs[0].dated)) == ([], True, 1, True)
    trust = audit.Trust(keys=[journal.verifier])  # the least an auditor brings
    chance, unseen = random.Random(SEED), []
    names = sorted(files.keys() - HELPS_NOBODY)
    assert len(names) == 9
    for number in range(FLIPS):
        name = names[number % len(names)]
        changed = flipped(files[name], chance)
        try:
            if not audit.verify(Files({**files, name: changed}), trust).findings:
                unseen.append((name, changed))
        except Unreadable:
            continue

    assert unseen == []


def test_the_certificates_beside_the_tokens_change_nothing_whatever_they_say(journal, tsa):
    files = {**journal.files(), **journal.before}
    trust = audit.Trust(keys=[journal.verifier], roots=[tsa.root])
    assert audit.verify(Files({**files, "timestamps/certificates.pem": b"?"}), trust) == audit.verify(
        Files(files), trust
    )


def test_a_token_that_is_not_the_one_recorded_is_found_without_any_root(journal, tsa):
    other = tsa.reply(tsa.query(journal.notes[3]))
    files = {**journal.files(), **journal.before, "timestamps/3.1.tsr": other}

    [finding] = audit.verify(Files(files), audit.Trust(keys=[journal.verifier])).findings
    assert (finding.code, finding.sequence, finding.about) == ("BAD_TIMESTAMP", 2, "timestamps/3.1.tsr")


def test_every_bit_of_a_receipt_counts():
    """Nothing in a receipt is free: any bit changed makes it unreadable or void. Only added spaces leave it as it was."""
    journal = maker.ordinary(count=16)
    kept = journal.receipt(11)  # its salt is written with letters
    written, trusted = receipt.write(kept), [journal.verifier]
    assert receipt.parse(written.replace(b'","', b'" ,\n "')) == kept
    unseen = []
    for bit in range(len(written) * 8):
        changed = bytearray(written)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            if not receipt.verify(receipt.parse(bytes(changed)), trusted).findings:
                unseen.append(bit)
        except receipt.ReceiptRefused:
            continue

    assert unseen == []
