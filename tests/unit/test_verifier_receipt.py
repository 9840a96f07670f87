"""A receipt: what it proves away from everything, and what voids it."""

import json

import journal_maker as maker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mespieces.verifier import __main__ as program
from mespieces.verifier import receipt
from mespieces.verifier.findings import Code

JOURNAL = maker.ordinary()
RECEIPT = JOURNAL.receipt(3)


def codes(verdict):
    return [finding.code for finding in verdict.findings]


def test_a_receipt_reads_back_and_proves_its_facts():
    verdict = receipt.verify(receipt.parse(receipt.write(RECEIPT)), [JOURNAL.verifier])

    assert codes(verdict) == []
    assert verdict.header.sequence == 3
    assert verdict.facts == maker.body_of(JOURNAL, 3)
    assert verdict.checkpoint.size == 9


def test_a_token_beside_a_receipt_is_kept():
    stamped = RECEIPT._replace(timestamp=b"\x30\x03token")

    assert receipt.parse(receipt.write(stamped)) == stamped


def test_a_receipt_signed_by_another_key_proves_nothing():
    verdict = receipt.verify(RECEIPT, [maker.ordinary(2).verifier])

    assert (codes(verdict), verdict.facts) == ([Code.BAD_SIGNATURE], {})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"body": b"{}"}, Code.PAYLOAD_ALTERED),
        ({"salt": bytes(32)}, Code.PAYLOAD_ALTERED),
        ({"header": b"{}"}, Code.HEADER_NOT_CANONICAL),
        ({"header": JOURNAL.records[4][0]}, Code.PAYLOAD_ALTERED),
        ({"tlog_proof": JOURNAL.receipt(4).tlog_proof}, Code.CHECKPOINT_MISMATCH),
        ({"tlog_proof": "nothing"}, Code.CHECKPOINT_MISMATCH),
    ],
    ids=str,
)
def test_a_receipt_changed_in_any_part_is_void(change, code):
    verdict = receipt.verify(RECEIPT._replace(**change), [JOURNAL.verifier])

    assert codes(verdict)[0] == code
    assert verdict.facts == {}


@settings(deadline=None)
@given(st.data())
def test_any_bit_changed_in_a_receipt_voids_it_or_changes_nothing_it_proves(data):
    written = bytearray(receipt.write(RECEIPT))
    written[data.draw(st.integers(0, len(written) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = receipt.parse(bytes(written))
    except receipt.ReceiptRefused:
        return
    verdict = receipt.verify(read, [JOURNAL.verifier])
    assert verdict.findings or verdict.facts == maker.body_of(JOURNAL, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"header":1,"header":2}',
        b'{"header":"","proof":null,"timestamp":null,"tlog_proof":""}',
        b'{"header":"","proof":{"body":"","salt":"0"},"timestamp":null,"tlog_proof":""}',
        b'{"header":"","proof":{"body":"","salt":""},"timestamp":"?","tlog_proof":""}',
    ],
    ids=repr,
)
def test_a_text_that_is_no_receipt_is_refused(data):
    with pytest.raises(receipt.ReceiptRefused):
        receipt.parse(data)


def test_the_program_verifies_a_receipt_alone_or_against_an_export(tmp_path, capsys):
    path = tmp_path / "receipt.json"
    path.write_bytes(receipt.write(RECEIPT))
    place = maker.save(JOURNAL.files(), tmp_path / "export")

    assert program.main(["--receipt", str(path), "--vkey", JOURNAL.vkey]) == 0
    assert "document.consulted" in capsys.readouterr().out
    assert program.main([str(place), "--receipt", str(path), "--vkey", JOURNAL.vkey]) == 0
    assert program.main(["--receipt", str(path)]) == 2
    path.write_bytes(receipt.write(RECEIPT._replace(body=b"{}")))
    capsys.readouterr()
    assert program.main(["--receipt", str(path), "--vkey", JOURNAL.vkey, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["receipts"][0]["facts"] == {}


def test_a_receipt_of_another_history_denounces_the_export(tmp_path):
    other = maker.ordinary(count=8)
    place = maker.save(other.files(), tmp_path / "export")
    path = tmp_path / "receipt.json"
    path.write_bytes(receipt.write(RECEIPT))

    assert program.main([str(place), "--receipt", str(path), "--vkey", JOURNAL.vkey]) == 1
