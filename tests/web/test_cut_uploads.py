"""An upload that the network cut is no document."""

import make

from mespieces.models import Document


def test_a_body_shorter_than_it_announced_is_refused_and_leaves_nothing(site):
    member = make.member(site.gateways)
    office, deposit = site.member(member), make.draft(site.gateways, member.office)
    office.get("/etude/depots/nouveau")
    announced = {"CONTENT_LENGTH": str(len(make.pdf()) + 100_000), "wsgi.input_terminated": True}

    answer = office.ask(
        "POST", f"/etude/depots/{deposit.id}/pieces", 422, data=make.pdf(), content_type="application/octet-stream",
        headers={"X-CSRFToken": office.token, "X-Filename": "Facture.pdf"}, environ_overrides=announced,
    )  # fmt: skip

    assert "interrompu" in answer.text
    assert Document.select().count() == 0
    assert list(site.gateways.vault.names()) == []


def test_a_form_cut_inside_a_file_leaves_nothing(site):
    member = make.member(site.gateways)
    office, deposit = site.member(member), make.draft(site.gateways, member.office)
    office.get("/etude/depots/nouveau")
    head = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="Facture.pdf"\r\n\r\n'

    office.ask(
        "POST", f"/etude/depots/{deposit.id}/pieces", 422, data=head + make.pdf(),
        content_type="multipart/form-data; boundary=cut", headers={"X-CSRFToken": office.token},
    )  # fmt: skip

    assert Document.select().count() == 0
    assert list(site.gateways.vault.names()) == []


def test_the_office_reads_what_it_deposited_and_that_is_journaled(site):
    member = make.member(site.gateways)
    office, deposit = site.member(member), make.draft(site.gateways, member.office)
    document = make.document(site.gateways, deposit)

    answer = office.get(f"/etude/depots/{deposit.id}/pieces/{document.id}/fichier")

    assert answer.data == make.pdf()
    assert make.count("document.consulted") == 1
