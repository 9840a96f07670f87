"""The journal's format: canonical bytes, headers, commitments, bodies, against the known answers that come with it."""

import json
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mespieces.verifier import canonical, chain, merkle, record

VECTORS = json.loads(Path(__file__).with_name("journal-vectors.json").read_text(encoding="utf-8"))

texts = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: unicodedata.normalize("NFC", text))
keys = st.text(st.characters(max_codepoint=127), max_size=6)
integers = st.integers(-(2**53) + 1, 2**53 - 1)
values = st.recursive(
    st.none() | st.booleans() | integers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)

AUTHOR = {"kind": "recipient", "id": "r1", "name": "Élodie Müller"}
PROOF = {"author": AUTHOR, "object": {"deposit": "d1", "number": 2}, "detail": {"anything": [1, None]}}


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda vector: vector["record_hash"][:8])
def test_a_known_record_has_its_known_hash_and_commitments(vector):
    header = vector["header"].encode()
    parsed = record.parse(header)

    assert record.record_hash(header).hex() == vector["record_hash"]
    assert record.build(parsed) == header
    for group in record.GROUPS:
        salt, body = bytes.fromhex(vector[group]["salt"]), vector[group]["body"].encode()
        assert record.commit(group, salt, body) == getattr(parsed, group)
        assert canonical.encode(canonical.parse(body)) == body
        assert record.encode_body(group, json.loads(body)) == body


def test_the_known_records_have_the_known_root_at_every_size():
    leaves = [bytes.fromhex(vector["record_hash"]) for vector in VECTORS["records"]]

    assert {str(size): merkle.root(leaves[:size]).hex() for size in range(1, 8)} == VECTORS["roots"]


def test_the_known_records_make_a_chain_without_fault():
    walk = chain.Chain()
    for vector in VECTORS["records"]:
        payloads = [(bytes.fromhex(vector[group]["salt"]), vector[group]["body"].encode()) for group in record.GROUPS]
        assert walk.feed(vector["header"].encode(), *payloads) == []
        assert walk.root().hex() == VECTORS["roots"][str(walk.size)]

    assert walk.finish() == []
    assert walk.head.hex() == VECTORS["records"][-1]["record_hash"]


@settings(deadline=None)
@given(values)
def test_every_value_has_one_writing_that_reads_back(value):
    data = canonical.encode(value)

    assert data == rfc8785.dumps(value)
    assert canonical.parse(data) == value


@settings(deadline=None)
@given(values, st.data())
def test_changed_bytes_are_another_value_or_refused(value, data):
    written = bytearray(canonical.encode(value))
    written[data.draw(st.integers(0, len(written) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = canonical.parse(bytes(written))
    except canonical.NotCanonical:
        return
    assert canonical.encode(read) == bytes(written)
    assert json.dumps(read) != json.dumps(value)


@pytest.mark.parametrize(
    "value",
    [1.5, 1.0, float("nan"), 2**53, -(2**53), "e\u0301", "\ud800", {"é": 1}, {"a": ["e\u0301"]}, {1: 2}, b"a", {1, 2}],
    ids=repr,
)
def test_what_the_format_leaves_out_is_never_written(value):
    with pytest.raises(canonical.NotCanonical):
        canonical.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" {}",
        b"{} ",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":NaN}',
        b'{"a":9007199254740992}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        '{"é":1}'.encode(),
        '{"a":"e\u0301"}'.encode(),
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000 + b"]" * 100_000,
        b"1" * 5000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_bytes_in_any_other_form_are_refused(data):
    with pytest.raises(canonical.NotCanonical):
        canonical.parse(data)


def test_a_body_must_be_an_object():
    with pytest.raises(canonical.NotCanonical):
        canonical.parse_object(b"[]")


def test_a_combining_mark_after_an_escape_is_still_in_normal_form():
    assert canonical.parse('{"a":"\\n\u0303"}'.encode()) == {"a": "\n\u0303"}


@given(st.text(st.characters(max_codepoint=0x180), max_size=20))
def test_whether_a_text_is_in_normal_form_does_not_depend_on_how_it_is_looked_at(text):
    assert canonical._is_normal(text) == unicodedata.is_normalized("NFC", text)
    assert canonical._is_normal(text + "e\u0301") is False


@settings(deadline=None)
@given(st.binary(min_size=1), st.data())
def test_no_two_headers_read_the_same(noise, data):
    header = VECTORS["records"][3]["header"].encode()
    place = data.draw(st.integers(0, len(header)))
    changed = header[:place] + noise + header[place + data.draw(st.integers(0, len(noise))) :]
    assume(changed != header)
    try:
        parsed = record.parse(changed)
    except record.HeaderNotCanonical:
        return
    assert parsed != record.parse(header)


@pytest.mark.parametrize(
    "change",
    [
        {"time": "2026-02-30T10:00:00.000000Z"},
        {"time": "2026-11-23T24:00:00.000000Z"},
        {"time": "2026-11-23T10:00:00Z"},
        {"sequence": 2**53},
        {"sequence": -1},
        {"log": "A" * 32},
        {"previous": "0" * 63},
        {"operation": "Document.consulted"},
        {"operation": "document.painted"},
        {"proof": "é" * 64},
    ],
    ids=repr,
)
def test_a_header_out_of_form_is_never_written(change):
    header = record.parse(VECTORS["records"][0]["header"].encode())._replace(**change)

    with pytest.raises(record.HeaderNotCanonical):
        record.build(header)


def test_an_operation_unknown_to_this_version_still_verifies():
    data = VECTORS["records"][0]["header"].replace("journal.opened", "journal.painted").encode()

    assert record.parse(data).operation == "journal.painted"


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)))  # noqa: DTZ001 — given its zone beside
def test_an_instant_reads_back_from_a_header(instant):
    assert record.parse_time(record.format_time(instant)) == instant


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"identified": {"way": "act"}},
        {"identified": {"way": "act+app", "set_by": "recipient"}},
        {"author": {"kind": "member", "id": "m", "name": "M", "office": "o"}, "identified": {"way": "passkey"}},
        {"object": {}, "detail": {}},
    ],
    ids=repr,
)
def test_a_body_of_the_table_is_written(change):
    body = {**PROOF, **change}

    assert canonical.parse(record.encode_body("proof", body)) == body


@pytest.mark.parametrize(
    "change",
    [
        {"extra": {}},
        {"author": {**AUTHOR, "kind": "stranger"}},
        {"author": {**AUTHOR, "mail": "x"}},
        {"author": {"kind": "member", "id": "m"}},
        {"object": {"number": "2"}},
        {"object": {"number": True}},
        {"object": {"thing": "2"}},
        {"detail": []},
        {"identified": {"way": "act+app"}},
        {"identified": {"way": "sms"}},
        {"identified": {"way": "act", "set_by": "nobody"}},
    ],
    ids=repr,
)
def test_a_body_outside_the_table_is_refused(change):
    with pytest.raises(record.BodyRefused):
        record.encode_body("proof", {**PROOF, **change})


@pytest.mark.parametrize("missing", ["author", "object", "detail"])
def test_a_proof_body_is_complete(missing):
    with pytest.raises(record.BodyRefused, match=missing):
        record.validate_body("proof", {key: value for key, value in PROOF.items() if key != missing})


def test_a_trace_holds_an_address_and_a_short_agent_or_nothing():
    record.validate_body("trace", {})
    record.validate_body("trace", {"address": "::1", "agent": "x" * 256})
    for body in ({"address": "::1"}, {"address": "::1", "agent": "x" * 257}, {"address": "", "agent": "", "more": ""}):
        with pytest.raises(record.BodyRefused):
            record.validate_body("trace", body)
