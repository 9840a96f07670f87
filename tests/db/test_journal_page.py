"""The ten minutes of `docs/journal.md`: every command on the page is run as it is written."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import authority as authorities
import make
import pytest

from mespieces.domain import anchors, attestations, checkpoints, journal
from mespieces.gateways.clock import ManualClock, SystemClock
from mespieces.gateways.timestamps import Authority
from mespieces.models import JournalCheckpoint, JournalRecord, JournalTimestamp

ROOT = Path(__file__).parents[2]
TEN_MINUTES = (ROOT / "docs" / "journal.md").read_text("utf-8").partition("## Verify in ten minutes")[2]
COMMANDS = re.findall(r"```sh\n(.*?)```", TEN_MINUTES, re.DOTALL)


@pytest.fixture
def auditor(gateways, settings, tmp_path):
    """Run a command of the page where an auditor stands, with what they kept; return how it ended and what it said."""
    place = tmp_path / "auditor"
    (place / "bin").mkdir(parents=True)
    for name, program in (
        ("mespieces", "from mespieces.cli import main; main()"),
        ("mespieces-verify", "import sys; from mespieces.verifier.__main__ import main; sys.exit(main())"),
        ("python3", ""),
    ):
        given = f"-c '{program}'" if program else ""
        (place / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {given} "$@"\n')
        (place / "bin" / name).chmod(0o755)
    environment = {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "KEY": checkpoints.vkey(gateways),
        "MESPIECES_DATA": str(tmp_path),
        "MESPIECES_DATABASE_URL": settings.database_url,
        "MESPIECES_STORAGE_URL": "memory:",
        "MESPIECES_MAIL_URL": "memory:",
        "MESPIECES_PUBLIC_URL": settings.public_url,
    }
    with authorities.serving(authorities.Authority(tmp_path / "tsa")) as tsa:
        reached = (Authority(tsa.url, (tsa.root,), within=5.0),)
        dated = dataclasses.replace(gateways, authorities=reached, clock=ManualClock(SystemClock().now()))
        deposit = make.filed(dated, documents=1)
        (place / "attestation.pdf").write_bytes(attestations.of_deposit(dated, deposit, by=journal.OPERATOR))
        assert anchors.keep_up(dated)
        make.office(dated)
        (place / "kept.note").write_bytes(bytes(JournalCheckpoint.get().note))
        (place / "tsa-root.pem").write_bytes(tsa.pem.read_bytes())

    def run(command):
        done = subprocess.run(
            ["bash", "-euc", command], cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    run.place = place
    return run


def test_the_ten_minutes_of_the_page_conclude_on_an_intact_journal(auditor):
    export, verify, attestation, chain, dates, signature = COMMANDS
    assert auditor(export)[0] == 0

    status, told = auditor(verify)
    assert (status, "INTACT" in told) == (0, True), told
    assert "vérifié, dernière date certaine : 2" in told.replace("\u00a0", " ")
    status, told = auditor(attestation)
    issued = JournalRecord.get(JournalRecord.operation == "attestation.issued").sequence
    assert (status, f"selon l’enregistrement {issued} du journal" in told.replace("\u00a0", " ")) == (0, True), told
    head = journal.head()
    assert auditor(chain) == (0, f"{head.size} records, head {head.head}\n")
    assert f"tête {head.head}" in told
    status, told = auditor(dates)
    assert (status, told.count("Verification: OK")) == (0, JournalTimestamp.select().count())
    status, told = auditor(signature)
    assert (status, "Signature Verified Successfully" in told) == (0, True), told


def test_the_same_commands_denounce_a_journal_that_was_changed(auditor):
    export, verify, attestation, chain, dates, signature = COMMANDS
    auditor(export)
    path = auditor.place / "export" / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"deposit.filed", b"deposit.fined", 1))
    token = next((auditor.place / "export" / "timestamps").glob("*.tsr"))
    note = auditor.place / "export" / "checkpoints" / f"{token.name.split('.')[0]}.note"
    note.write_bytes(note.read_bytes() + b"\n")

    status, told = auditor(verify)
    assert (status, "PREVIOUS_MISMATCH" in told, "BAD_TIMESTAMP" in told) == (1, True, True)
    assert auditor(attestation)[0] == 1
    assert auditor(chain)[0] != 0
    assert auditor(dates)[0] != 0
    kept = auditor.place / "kept.note"
    kept.write_bytes(kept.read_bytes().replace(b"\n", b"0\n", 1))
    assert auditor(signature)[0] != 0
