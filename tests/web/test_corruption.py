"""A stored document that is no longer the one deposited: nothing of it is served, and it is told once."""

import make
import pytest

from mespieces.domain import documents
from mespieces.gateways.vault import Corrupted
from mespieces.models import Message
from mespieces.views import streams


@pytest.fixture
def deposit(site):
    return make.filed(site.gateways, documents=3)


def flip(gateways, document, offset=-1):
    """Change one byte of a stored file."""
    objects, name = gateways.vault._storage._objects, documents.file_name(document.id)
    data, modified = objects[name]
    changed = bytearray(data)
    changed[offset] ^= 1
    objects[name] = (bytes(changed), modified)


def spoil(site, deposit, number, offset=-1):
    flip(site.gateways, documents.numbered(deposit, number), offset)


def test_the_page_around_a_spoiled_document_refuses_in_words(site, deposit):
    spoil(site, deposit, 2)

    answer = site.reading(deposit).get("/pieces/2", 503)

    assert "empreinte n’est plus celle relevée au dépôt" in answer.text
    assert make.count("document.consulted") == 0


def test_a_page_around_a_sound_document_opens_no_consultation(site, deposit):
    site.reading(deposit).get("/pieces/2")

    assert make.count("document.consulted") == 0


def test_an_archive_that_cannot_be_whole_journals_no_consultation(site, deposit):
    spoil(site, deposit, 3)

    site.reading(deposit).get("/pieces/liasse.zip", 503)

    assert make.count("document.consulted") == 0
    assert make.count("document.corrupted") == 1


def test_a_spoiled_document_asked_for_again_is_told_once_to_the_office(site, deposit):
    spoil(site, deposit, 1)
    debtor = site.reading(deposit)

    for path in ("/pieces/1", "/pieces/1/fichier", "/pieces/1/pages/1.webp", "/pieces/1/texte", "/pieces/liasse.zip"):
        debtor.get(path, 503)
    site.reading(deposit).get("/pieces/1", 503)

    assert Message.select().where(Message.kind == "corruption").count() == 1
    assert make.count("document.corrupted") == 2  # once for each session


def test_bytes_that_spoil_while_they_leave_break_the_connection_and_are_told(gateways):
    told = []

    def chunks():
        yield b"%PDF"
        raise Corrupted

    handing = streams.Handing(chunks(), told.append, lambda: told.append("corrupted"))
    with pytest.raises(ConnectionResetError):
        list(handing)

    handing.close()
    assert told == ["corrupted", 4]
