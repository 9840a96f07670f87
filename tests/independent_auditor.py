"""An auditor's own verifier of an export, written from the format's page alone: it shares no code with the product."""

import base64
import hashlib
import json
import re
import unicodedata
import zipfile
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from dateutil.relativedelta import relativedelta

NEVER_WITHHELD = {"journal.opened", "journal.anchored", "journal.purged", "clock.anomaly"}
HEADER_KEYS = {"commitments", "log", "operation", "previous", "sequence", "time", "version"}


def serialize(value):
    """RFC 8785, for the few kinds of values the journal allows; anything else raises ValueError."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if not -(2**53) < value < 2**53:
            raise ValueError("too large")
        return str(value)
    if isinstance(value, str):
        if unicodedata.normalize("NFC", value) != value:
            raise ValueError("not NFC")
        return '"' + "".join(escape(letter) for letter in value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(serialize(item) for item in value) + "]"
    if isinstance(value, dict):
        if any(ord(letter) > 127 for key in value for letter in key):
            raise ValueError("key not ASCII")
        return "{" + ",".join(serialize(key) + ":" + serialize(value[key]) for key in sorted(value)) + "}"
    raise ValueError(f"no {type(value)} in a journal")


def escape(letter):
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if letter in short:
        return short[letter]
    if 0xD800 <= ord(letter) <= 0xDFFF:
        raise ValueError("lone surrogate")
    return f"\\u{ord(letter):04x}" if ord(letter) < 32 else letter


def canonical(data):
    """The value of canonical bytes, or None."""
    try:
        value = json.loads(data.decode("utf-8"))
        return value if serialize(value).encode("utf-8") == data else None
    except (ValueError, RecursionError):
        return None


def sha256(data):
    return hashlib.sha256(data).digest()


def tree_root(leaves):
    """MTH of RFC 6962, as its definition reads."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\x01" + tree_root(leaves[:half]) + tree_root(leaves[half:]))


def is_header(header):
    if not isinstance(header, dict) or set(header) != HEADER_KEYS or not isinstance(header["commitments"], dict):
        return False
    try:
        datetime.strptime(header["time"], "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007 — only the form matters
    except (TypeError, ValueError):
        return False
    return (
        set(header["commitments"]) == {"proof", "trace"}
        and all(is_hex(value, 64) for value in [*header["commitments"].values(), header["previous"]])
        and is_hex(header["log"], 32)
        and isinstance(header["operation"], str)
        and re.fullmatch(r"[a-z_]+\.[a-z_]+", header["operation"])
        and type(header["sequence"]) is int
        and header["sequence"] >= 0
        and len(header["time"]) == 27
        and type(header["version"]) is int
        and header["version"] == 1
    )


def is_hex(value, length):
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{length}}}", value) is not None


def files_of(path):
    """The files of an export, that of the only folder that holds one when there is none at the top."""
    files = all_files(path)
    tops = {name.partition("/")[0] for name in files if re.fullmatch("[^/]+/log[.]json", name)}
    if "log.json" in files or len(tops) != 1:
        return files
    top = tops.pop() + "/"
    return {name.removeprefix(top): data for name, data in files.items() if name.startswith(top)}


def all_files(path):
    path = Path(path)
    if path.is_dir():
        return {str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def signed_checkpoint(data, vkey):
    """(origin, size, root) of a note the key has signed, or None."""
    name, key_id, encoded = vkey.split("+", 2)
    public = base64.b64decode(encoded)
    if sha256(name.encode() + b"\n" + public)[:4].hex() != key_id or public[0] != 1:
        raise ValueError("not a key")
    try:
        text, _, signatures = data.decode().rpartition("\n\n")
        text += "\n"
        for line in signatures.removesuffix("\n").split("\n"):
            dash, signer, value = line.split(" ")
            raw = base64.b64decode(value, validate=True)
            if (dash, signer, raw[:4].hex()) == ("—", name, key_id) and base64.b64encode(raw).decode() == value:
                Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], text.encode())
                origin, size, root = text.split("\n")[:3]
                return origin, int(size), base64.b64decode(root, validate=True)
    except (ValueError, InvalidSignature):
        return None
    return None


def check_payload(group, payload, header, announced):
    """The finding on one payload, or None."""
    sequence = header["sequence"]
    if payload is None:
        covering = [one for one in announced if one["from"] <= sequence <= one["to"] and one["group"] == group]
        if not covering:
            return "PAYLOAD_MISSING"
        return None if all(is_due(one, header) for one in covering) else "PURGED_TOO_EARLY"
    if payload == {"withheld": True}:
        return "PAYLOAD_MISSING" if header["operation"] in NEVER_WITHHELD else None
    if set(payload) != {"body", "salt"} or not is_hex(payload["salt"], 64) or not isinstance(payload["body"], str):
        return "PAYLOAD_NOT_CANONICAL"
    body = payload["body"].encode()
    sealed = sha256(f"mespieces/journal/v1/{group}\n".encode() + bytes.fromhex(payload["salt"]) + body)
    if sealed.hex() != header["commitments"][group]:
        return "PAYLOAD_ALTERED"
    return None if isinstance(canonical(body), dict) else "PAYLOAD_NOT_CANONICAL"


def announcements(lines, later=()):
    """Every range announced of a journal, with when, and the header of the filing it cites.

    By its own purge records, then, `later`, by those of the journals that come after it: these are about the whole of it.
    """
    found = list(later)
    for header, detail in purge_records(lines):
        if "log" not in detail:
            before, time = header["sequence"] - 1, header["time"]
            found += [{**item, "to": min(item["to"], before), "time": time} for item in detail.get("ranges", [])]
    headers = {header["sequence"]: header for header, _ in readable(lines)}
    return [{**one, "filing": headers.get(one.get("filed"))} for one in found]


def told_later(lines, log):
    """Every range that a later journal announces of the journal `log`, with when."""
    told = ((header["time"], detail) for header, detail in purge_records(lines) if detail.get("log") == log)
    return [{**item, "time": time} for time, detail in told for item in detail["ranges"]]


def purge_records(lines):
    """The header of each purge record, and what it says: nothing unless that is committed to, in a line of the format."""
    for header, entry in readable(lines):
        if header["operation"] == "journal.purged" and "body" in (entry["proof"] or ()):
            found = [check_payload(group, entry[group], header, []) for group in ("proof", "trace")]
            if found[0] is None and found[1] != "PAYLOAD_NOT_CANONICAL":
                yield header, json.loads(entry["proof"]["body"])["detail"]


def readable(lines):
    """The header and the entry of each line whose header can be read."""
    for line in lines:
        entry = canonical_line(line)
        header = entry and canonical(entry["header"].encode())
        if is_header(header):
            yield header, entry


def is_due(purge, header):
    """Whether a purge came after its delay: 12 months for a trace, 18 for a proof, from the filing when it cites one."""
    if header["operation"].startswith("journal."):
        return False
    months, start = (12, header) if purge["group"] == "trace" else (18, header)
    if purge["group"] == "proof" and "filed" in purge:
        start = purge["filing"]
        if not start or start["operation"] not in {"deposit.filed", "deposit.withdrawn"}:
            return False
    return datetime.fromisoformat(purge["time"]) >= datetime.fromisoformat(start["time"]) + relativedelta(months=months)


def canonical_line(line):
    """The entry of a line, or None. The line is canonical JSON, except that a body may hold what a body may not."""
    try:
        entry = json.loads(line)
        written = {key: value for key, value in entry.items() if key in {"header", "proof", "trace"}}
        plain = json.dumps(written, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        return entry if plain == line and len(written) == 3 and isinstance(entry["header"], str) else None
    except (ValueError, AttributeError, RecursionError):
        return None


def audit(export_path, vkey):
    """Return the findings on an export's current journal, each as « CODE sequence »."""
    files = files_of(export_path)
    log = json.loads(files["log.json"])["log"]
    notes = {int(m[1]): files[name] for name in files if (m := re.fullmatch(r"checkpoints/(\d+)\.note", name))}
    lines = files["journal.jsonl"].splitlines(keepends=True)
    findings, leaves, expected, operation = records(lines, log, announcements(lines))
    return findings + withheld(lines, operation) + ending(leaves, expected, operation, notes, log, vkey)


def audit_earlier(export_path):
    """Return the findings on the records of the journals that the current one continues, by name: not on their ends.

    From the current one back: each first record cites the journal before. Any other in the export is not looked at.
    """
    files, found, after, folder = files_of(export_path), {}, [], ""
    while f"{folder}log.json" in files:
        log, lines = json.loads(files[f"{folder}log.json"])["log"], files[f"{folder}journal.jsonl"].splitlines(True)
        told = [one for journal in after for one in told_later(journal, log)]
        found[log] = records(lines, log, announcements(lines, told))[0]
        after.append(lines)
        before = cited(lines[0])
        folder = f"previous/{before}/" if before not in found else "nowhere/"
    return found


def cited(line):
    """The journal that a first line says its own continues, or None."""
    entry = canonical_line(line)
    try:
        return json.loads(entry["proof"]["body"])["detail"]["reopened"]["log"]
    except (TypeError, KeyError, ValueError):
        return None


def records(lines, log, announced):
    """The findings on the records of a journal; its leaves, how many records it has, and the last operation."""
    findings, leaves, head, expected, time, operation = [], [], "0" * 64, 0, "", ""
    for line in lines:
        entry = canonical_line(line)
        text = entry["header"].encode() if entry else line
        header = canonical(text) if entry else None
        leaf = sha256(b"\x00" + text)
        leaves.append(leaf)
        if not is_header(header):
            findings.append(f"HEADER_NOT_CANONICAL {expected}")
        else:
            sequence = header["sequence"]
            if header["previous"] != head or header["log"] != log:
                findings.append(f"PREVIOUS_MISMATCH {sequence}")
            if sequence != expected:
                findings.append(f"SEQUENCE_GAP {sequence}")
            if header["time"] < time and header["operation"] != "clock.anomaly":
                findings.append(f"TIME_WENT_BACK {sequence}")
            checks = [check_payload(group, entry[group], header, announced) for group in ("proof", "trace")]
            findings += [f"{code} {sequence}" for code in checks if code]
            expected, time, operation = sequence, header["time"], header["operation"]
        head, expected = leaf.hex(), expected + 1
    return findings, leaves, expected, operation


def withheld(lines, operation):
    """The first record of which something is withheld, in an export that no office made."""
    entries = [canonical_line(line) for line in lines]
    last = entries[-1] if entries else None
    if not last or operation != "journal.exported" or "office" in office_of(last["proof"]):
        return []
    marked = [
        at for at, entry in enumerate(entries) if entry and {"withheld": True} in (entry["proof"], entry["trace"])
    ]
    return [f"PAYLOAD_MISSING {marked[0]}"] if marked else []


def office_of(payload):
    """The object of a payload's body, empty when it cannot be read."""
    try:
        return json.loads(payload["body"])["object"]
    except (TypeError, KeyError, ValueError):
        return {}


def ending(leaves, count, operation, notes, log, vkey):
    """The findings on checkpoints, and on how the export ends."""
    findings, beyond = [], False
    for size, data in sorted(notes.items()):
        signed = signed_checkpoint(data, vkey)
        if signed is None:
            findings.append(f"BAD_SIGNATURE {max(size - 1, 0)}")
        elif size > count:
            beyond = True
        elif signed[1] != size or not signed[0].endswith("/" + log) or tree_root(leaves[:size]) != signed[2]:
            findings.append(f"CHECKPOINT_MISMATCH {max(size - 1, 0)}")
    if beyond or count not in notes or operation != "journal.exported":
        findings.append(f"TAIL_TRUNCATED {count}")
    return findings
