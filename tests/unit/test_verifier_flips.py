"""Thousands of single bits changed in an export or a receipt: none goes unseen."""

import hashlib
import random
from datetime import timedelta

import authority as authorities
import journal_maker as maker
import pytest
from journal_maker import Files

from mespieces.verifier import audit, chain, export, merkle, receipt, timestamp
from mespieces.verifier.export import Unreadable

SEED, FLIPS = 1124, 5_000


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    return authorities.Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def journal(tsa):
    """A journal that continues another, was dated twice, forgot an address in its time, and withholds what is not the reader's."""
    before = maker.ordinary(3)
    after = maker.Journal(4, key=before.key)
    root = merkle.root(before.leaves).hex()
    cited = {"log": before.log, "size": 9, "head": before.leaves[-1].hex(), "checkpoint": {"size": 9, "root": root}}
    after.add("journal.opened", detail={"reopened": cited})
    after.add("deposit.filed")
    after.add("document.consulted", trace={"address": "::1", "agent": "é"})
    for _ in range(2):
        size = len(after.records)
        token = tsa.reply(tsa.query(after.checkpoint()))
        after.tokens[f"{size}.1.tsr"] = token
        after.add("journal.anchored", detail={"size": size, "number": 1, "sha256": hashlib.sha256(token).hexdigest()})
        after.add("document.consulted", trace={"address": "2001:db8::2", "agent": 'Zoé \U0001f4c4 \\ "'})
    after.records[-1][1:] = [chain.WITHHELD, chain.WITHHELD]
    after.checkpoint()
    ranges = [{"from": 2, "to": 2, "group": "trace"}]
    after.add("journal.purged", detail={"ranges": ranges, "reason": "12 mois"}, after=timedelta(days=370))
    after.records[2][2] = None
    after.close("o1")
    after.before = {f"previous/{before.log}/{name}": data for name, data in before.files().items()}
    return after


@pytest.fixture(scope="module")
def files(journal):
    """Its export as the product writes it."""
    certificates = timestamp.certificates(journal.tokens.values())
    assert certificates.count(b"BEGIN CERTIFICATE") == 3
    return {**journal.files(), **journal.before, "timestamps/certificates.pem": certificates}


def flipped(data, chance):
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_every_one_of_5000_random_bits_changed_in_an_export_is_found(journal, files, tsa):
    intact = audit.verify(Files(files), audit.Trust(keys=[journal.verifier], roots=[tsa.root]))
    seen = intact.logs[0]
    assert (intact.findings, intact.bound, bool(seen.dated)) == ([], True, True)
    assert (seen.purged, seen.withheld, len(seen.timestamps), len(journal.notes)) == (1, 2, 2, 4)
    trust = audit.Trust(keys=[journal.verifier])  # the least an auditor brings
    chance, unseen = random.Random(SEED), []
    names = sorted(files)
    assert len(names) == 13
    for number in range(FLIPS):
        name = names[number % len(names)]
        changed = flipped(files[name], chance)
        try:
            if not audit.verify(Files({**files, name: changed}), trust).findings:
                unseen.append((name, changed))
        except Unreadable:
            continue

    assert unseen == []


def test_every_bit_changed_in_a_token_is_found_also_when_its_authority_s_root_is_not_given(journal, files, tmp_path):
    trust = audit.Trust(keys=[journal.verifier], roots=[authorities.Authority(tmp_path, name="Autre").root])
    intact = audit.verify(Files(files), trust)
    assert (intact.findings, intact.logs[0].unvouched) == ([], ["3.1.tsr", "5.1.tsr"])
    chance = random.Random(SEED)
    for name in ("timestamps/3.1.tsr", "timestamps/5.1.tsr") * 100:
        [finding] = audit.verify(Files({**files, name: flipped(files[name], chance)}), trust).findings
        assert (finding.code, finding.about) == ("BAD_TIMESTAMP", name)


def said(report):
    return [(log.log, log.size, log.head, log.root, log.purged, log.withheld, log.timestamps) for log in report.logs]


def test_a_bit_changed_in_an_archive_is_found_or_changes_nothing_that_it_says(journal, files, tmp_path):
    """An archive holds more than its files: the hour of each, and its name, without which a checkpoint covers nothing."""
    written = maker.zipped(files, tmp_path / "whole.zip").read_bytes()
    trust, chance = audit.Trust(keys=[journal.verifier]), random.Random(SEED)

    def verified(data):
        (tmp_path / "export.zip").write_bytes(data)
        with export.source(tmp_path / "export.zip") as where:
            return audit.verify(where, trust)

    intact, same = verified(written), 0
    assert intact.findings == []
    for _ in range(FLIPS // 5):
        try:
            report = verified(flipped(written, chance))
        except Unreadable:
            continue
        same += said(report) == said(intact)
        assert report.findings or said(report) == said(intact)
    assert same < FLIPS // 20


def test_certificates_are_those_that_the_tokens_carry_or_absent(journal, files):
    trust, name = audit.Trust(keys=[journal.verifier]), "timestamps/certificates.pem"

    assert audit.verify(Files({key: data for key, data in files.items() if key != name}), trust).findings == []
    for other in (b"", files[name] + b"\n", files[name] * 2):
        [finding] = audit.verify(Files({**files, name: other}), trust).findings
        assert (finding.code, finding.sequence, finding.about) == ("BAD_TIMESTAMP", 0, name)


@pytest.mark.parametrize(("name", "sequence"), [("3.1.tsr", 2), ("5.1.tsr", 4)])
def test_a_token_taken_away_or_without_its_checkpoint_is_missed(journal, files, name, sequence):
    trust, token, note = audit.Trust(keys=[journal.verifier]), f"timestamps/{name}", f"checkpoints/{name[0]}.note"
    for taken in (token, note):
        [finding] = audit.verify(Files({key: data for key, data in files.items() if key != taken}), trust).findings
        assert (finding.code, finding.sequence, finding.about) == ("BAD_TIMESTAMP", sequence, token)


def test_an_export_that_holds_two_journals_of_one_name_says_nothing(journal, files):
    """The second is whole and signed, by a key of its own: one reader would print it, another not."""
    forged = maker.Journal(9)
    forged.log, forged.origin = journal.log, journal.origin
    forged.add("journal.opened")
    forged.close()
    twice = {**files, **{f"previous/{'0' * 32}/{name}": data for name, data in forged.files().items()}}

    with pytest.raises(Unreadable, match="deux fois"):
        audit.verify(Files(twice), audit.Trust(keys=[journal.verifier]))


def test_a_token_that_is_not_the_one_recorded_is_found_without_any_root(journal, files, tsa):
    other = tsa.reply(tsa.query(journal.notes[3]))

    [finding] = audit.verify(
        Files({**files, "timestamps/3.1.tsr": other}), audit.Trust(keys=[journal.verifier])
    ).findings
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
