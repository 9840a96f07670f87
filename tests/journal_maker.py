"""Makes small journals and their exports, for the tests of what verifies them."""

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mespieces.verifier import canonical, export, merkle, note, proof, receipt, record

START = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Journal:
    """A journal in memory: `records` are what an export writes, `leaves` what the tree is made of."""

    def __init__(self, seed=1, host="pieces.example", key=None):
        self.key = key or Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.log = f"{seed:02x}" * 16
        self.origin = f"{host}/journal/{self.log}"
        self.verifier = note.verifier(self.origin, self.key)
        self.vkey = note.format_vkey(self.verifier)
        self.time = START
        self.records = []
        self.leaves = []
        self.notes = {}
        self.tokens = {}

    def add(
        self,
        operation,
        *,
        detail=None,
        after=timedelta(seconds=1),
        trace=None,
        previous=None,
        name="Élodie",
        office=None,
    ):
        sequence = len(self.records)
        self.time += after
        body = {
            "author": {"id": f"r{sequence}", "kind": "recipient", "name": name},
            "detail": detail or {},
            "object": {"deposit": "d1", "number": sequence} | ({"office": office} if office else {}),
        }
        payloads = {
            "proof": (bytes([sequence % 251]) * 32, record.encode_body("proof", body)),
            "trace": (bytes([sequence % 241 + 7]) * 32, record.encode_body("trace", trace or {})),
        }
        header = record.build(
            record.Header(
                proof=record.commit("proof", *payloads["proof"]),
                trace=record.commit("trace", *payloads["trace"]),
                log=self.log,
                operation=operation,
                previous=previous or (self.leaves[-1].hex() if self.leaves else record.FIRST_PREVIOUS),
                sequence=sequence,
                time=record.format_time(self.time),
            )
        )
        self.records.append([header, payloads["proof"], payloads["trace"]])
        self.leaves.append(record.record_hash(header))
        return sequence

    def checkpoint(self, size=None):
        size = len(self.leaves) if size is None else size
        data = note.sign_checkpoint(note.Checkpoint(self.origin, size, merkle.root(self.leaves[:size])), self.key)
        self.notes[size] = data
        return data

    def close(self, office=None):
        """Do what an export does: append its record, an office's or the operator's, sign a checkpoint of exactly that size."""
        self.add("journal.exported", office=office)
        return self.checkpoint()

    def receipt(self, sequence, size=None):
        size = len(self.leaves) if size is None else size
        path = merkle.inclusion(sequence, size, merkle.of_leaves(self.leaves))
        text = proof.write(proof.Proof(sequence, path, self.checkpoint(size)))
        header, (salt, body), _ = self.records[sequence]
        return receipt.Receipt(header, salt, body, text, None)

    def files(self):
        about = {"log": self.log, "origin": self.origin, "vkey": self.vkey}
        return {
            "journal.jsonl": b"".join(export.write_line(*entry) for entry in self.records),
            "log.json": json.dumps(about).encode(),
            **{f"checkpoints/{size}.note": data for size, data in self.notes.items()},
            **{f"timestamps/{name}": data for name, data in self.tokens.items()},
        }


def ordinary(seed=1, count=9, office=None, **more):
    """Make a journal as they usually are: opened, a filing, readings, a checkpoint on the way, an export."""
    journal = Journal(seed, **more)
    journal.add("journal.opened")
    journal.add("deposit.filed")
    for number in range(count - 3):
        journal.add("document.consulted", detail={"mode": "page", "n": number}, trace={"address": "::1", "agent": "é"})
        if number == 2:
            journal.checkpoint()
    journal.close(office)
    return journal


class Files:
    """An export that never touches a disk."""

    def __init__(self, files):
        self.files = files

    def open(self, name):
        return io.BytesIO(self.files[name])

    def names(self, folder):
        prefix = folder.rstrip("/") + "/"
        return sorted({name[len(prefix) :].split("/")[0] for name in self.files if name.startswith(prefix)})


def save(files, folder):
    """Write an export's files in a folder."""
    for name, data in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def zipped(files, path, method=zipfile.ZIP_DEFLATED):
    """Write an export's files in an archive."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def body_of(journal, sequence):
    """Read back the proof body of a record."""
    return canonical.parse_object(journal.records[sequence][1][1])
