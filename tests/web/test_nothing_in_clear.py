"""After the whole story, the data folder is searched for what must not be there in clear."""

import io
from pathlib import Path

import make
import pytest
import servers

from mespieces.domain import documents
from mespieces.gateways.storage import FolderStorage
from mespieces.gateways.vault import open_vault
from mespieces.models import Recipient

MARK = "Marque-9c41f7d2e8"
"""Words that stand in the deposited document, on its page and in its text."""


@pytest.fixture
def stored(open_site, settings):
    """Open the application over a real folder."""
    vault = open_vault(FolderStorage(settings.data / "storage"), settings.master_key_file)
    return open_site(with_gateways={"vault": vault})


def everything(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dumped(url: str) -> bytes:
    """Return the rows of a PostgreSQL database raw."""
    return b"" if url.startswith("sqlite") else servers.dump(url)


def test_no_document_secret_or_code_is_found_in_the_data_folder(stored, settings, read_sheet):
    member = make.member(stored.gateways)
    office = stored.member(member)
    deposit = make.draft(stored.gateways, member.office)
    at = f"/etude/depots/{deposit.id}"
    paper = make.pdf(MARK)
    office.upload(f"{at}/pieces", paper, "Facture.pdf")
    office.post(f"{at}/pieces", data={"files": (io.BytesIO(paper), "Copie.pdf")}, content_type="multipart/form-data")
    office.post(f"{at}/destinataires", data={"name": "Alexandre Payet", "email": "payet@example.fr"})
    office.post(f"{at}/deposer")
    recipient = Recipient.get()
    sheet = office.post(f"{at}/destinataires/{recipient.id}/feuillet", 200)
    reference, secret = read_sheet(sheet.data)
    debtor = stored.visitor()
    debtor.get("/")
    debtor.post("/consulter", data={"reference": reference, "secret": secret})
    code = stored.mailed_code()
    during = everything(settings.data)
    debtor.post("/consulter/code", data={"code": code})
    debtor.get("/pieces/1/pages/1.webp")
    assert MARK in debtor.get("/pieces/1/texte").text
    assert debtor.get("/pieces/1/fichier").data == paper
    documents.draw_pending(stored.gateways)
    sessions = [debtor.cookie("acces"), office.cookie("etude")]

    found = everything(settings.data) | {f"during {name}": data for name, data in during.items()}
    found["the database"] = dumped(settings.database_url)

    sought = [
        MARK.encode(), paper[:64], paper[200:264], b"%PDF-", b"RIFF", secret.encode(), secret.replace("-", "").encode(),
        code.encode(), code.replace(" ", "").encode(), make.PASSWORD.encode(), *(str(one).encode() for one in sessions),
    ]  # fmt: skip
    assert any(name.startswith("storage/") for name in found)
    for name, data in found.items():
        assert [one for one in sought if one in data] == [], name
