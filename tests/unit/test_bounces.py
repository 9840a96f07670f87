"""Notices of mail servers, read as servers write them and as nobody should."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mespieces.domain import bounces

ID = "0123456789abcdef0123456789abcdef@pieces.example.fr"

POSTFIX = b"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example.fr (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: ne-pas-repondre@pieces.example.fr
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4F1E82.1795600000/mx.example.fr"

This is a MIME-encapsulated message.

--4F1E82.1795600000/mx.example.fr
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

<payet@example.fr>: host mail.example.fr said: 550 5.1.1 no such user

--4F1E82.1795600000/mx.example.fr
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.fr
X-Postfix-Queue-ID: 4F1E82

Final-Recipient: rfc822; payet@example.fr
Action: failed
Status: 5.1.1
Remote-MTA: dns; mail.example.fr
Diagnostic-Code: smtp; 550 5.1.1 <payet@example.fr>: Recipient address
    rejected: User unknown

--4F1E82.1795600000/mx.example.fr
Content-Description: Undelivered Message
Content-Type: message/rfc822

From: ne-pas-repondre@pieces.example.fr
To: payet@example.fr
Subject: Votre code
Message-ID: <0123456789abcdef0123456789abcdef@pieces.example.fr>

Votre code

--4F1E82.1795600000/mx.example.fr--
"""
HEADERS_ALONE = POSTFIX.replace(b"Content-Type: message/rfc822", b"Content-Type: text/rfc822-headers")
IN_BASE64 = POSTFIX.partition(b"Content-Type: message/rfc822")[0] + (
    b"Content-Type: text/rfc822-headers\nContent-Transfer-Encoding: base64\n\n"
    b"TWVzc2FnZS1JRDogPDAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmQHBpZWNlcy5leGFt\ncGxlLmZyPgo=\n"
    b"--4F1E82.1795600000/mx.example.fr--\n"
)


@pytest.mark.parametrize(
    "raw", [POSTFIX, HEADERS_ALONE, IN_BASE64, POSTFIX.replace(b"\n", b"\r\n"), POSTFIX.replace(b"failed", b"Failed")]
)
def test_a_servers_notice_is_read(raw):
    notice = bounces.read(raw)

    assert notice.message_id == ID
    assert notice.failed
    assert notice.reason == "550 5.1.1 <payet@example.fr>: Recipient address rejected: User unknown"


@pytest.mark.parametrize(
    ("diagnostic", "reason"),
    [
        (b"", "5.1.1"),
        (b"Diagnostic-Code: X-Postfix; Host not found", "5.1.1 Host not found"),
        (b"Diagnostic-Code: smtp;550 Requested action", "5.1.1 550 Requested action"),
        (b"Diagnostic-Code: vague", "5.1.1 vague"),
        (b"Diagnostic-Code: smtp; 550\x00 5.1.1\x1b[31m red", "550 5.1.1 [31m red"),
        (b"Diagnostic-Code: smtp; 550 5.1.1 " + b"x" * 500, "550 5.1.1 " + "x" * 190),
    ],
)
def test_the_reason_is_the_servers_words_or_its_status(diagnostic, reason):
    start, _, rest = POSTFIX.partition(b"Diagnostic-Code:")
    rest = rest.partition(b"User unknown\n")[2]

    assert bounces.read(start + diagnostic + (b"\n" if diagnostic else b"") + rest).reason == reason


@pytest.mark.parametrize("action", [b"delayed", b"delivered", b"relayed", b"expanded", b"whatever"])
def test_what_is_late_or_arrived_is_no_failure(action):
    notice = bounces.read(POSTFIX.replace(b"Action: failed", b"Action: " + action))

    assert notice.message_id == ID
    assert not notice.failed


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"Subject: Absent du bureau\n\nJe reviens lundi.\n",
        POSTFIX.replace(b"multipart/report", b"multipart/mixed"),
        POSTFIX.replace(b"report-type=delivery-status", b"report-type=disposition-notification"),
        POSTFIX.replace(b" report-type=delivery-status;", b""),
        POSTFIX.replace(b"message/delivery-status", b"text/plain"),
        POSTFIX.replace(b"Action: failed\n", b""),
        POSTFIX.replace(b"Message-ID", b"X-Message"),
        POSTFIX.replace(b"<0123456789", b"<0123456789@"),
        POSTFIX.replace(b"<0123456789abcdef", b"<0123456789ABCDEF"),
        POSTFIX.replace(b"boundary=", b"bound="),
        POSTFIX.partition(b"Content-Type: message/rfc822")[0],
    ],
)
def test_what_is_no_notice_is_a_sentence(raw):
    with pytest.raises(bounces.NoNotice, match="avis de non-remise"):
        bounces.read(raw)


def test_a_notice_is_read_to_a_mebibyte_and_no_further():
    full = POSTFIX + b"x" * (2**20 - len(POSTFIX))
    assert bounces.read(full).failed
    with pytest.raises(bounces.NoNotice):
        bounces.read(full + b"x")


def test_parts_within_parts_are_refused_and_quickly():
    nested = b"".join(
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="%d"\n\n--%d\n' % (n, n)
        for n in range(10_000)
    )
    began = time.monotonic()
    with pytest.raises(bounces.NoNotice):
        bounces.read(nested[: 2**20])
    assert time.monotonic() - began < 20


_LINES = st.sampled_from(POSTFIX.splitlines(keepends=True)) | st.binary(max_size=80)


@given(st.lists(_LINES, max_size=60).map(b"".join) | st.binary(max_size=2000))
@example(b"Content-Type: multipart/report; report-type*0*=''%; boundary=a\n\n--a\n\n--a--\n")
@example(POSTFIX.replace(b"Diagnostic-Code: smtp; 550", b"Diagnostic-Code: smtp; \xe9\x00\xff"))
@example(POSTFIX.replace(b"report-type=delivery-status", b"report-type*=utf-9'fr'delivery-status"))
def test_whatever_arrives_is_a_notice_or_a_sentence(raw):
    _read_or_refuse(raw)


@given(st.data())
def test_a_notice_with_anything_in_its_place_is_a_notice_or_a_sentence(data):
    start = data.draw(st.integers(0, len(POSTFIX)))
    end = data.draw(st.integers(start, min(len(POSTFIX), start + 200)))
    _read_or_refuse(POSTFIX[:start] + data.draw(st.binary(max_size=60)) + POSTFIX[end:])


def _read_or_refuse(raw):
    try:
        notice = bounces.read(raw)
    except bounces.NoNotice:
        return
    assert re.fullmatch(r"[0-9a-f]{32}@\S+", notice.message_id)
    assert notice.reason.isprintable()
    assert len(notice.reason) <= 200
    assert bool(notice.reason) == notice.failed
