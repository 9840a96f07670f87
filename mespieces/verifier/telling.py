"""What a verification found, told to a person in French, or to a program in JSON."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from mespieces.verifier import audit, findings, issued, logs, timestamp
from mespieces.verifier.findings import Finding
from mespieces.verifier.given import Given, Token
from mespieces.verifier.plural import agree


class Seen(NamedTuple):
    """All that was verified: an export or none, receipts, and what each PDF is, in the order of `search`."""

    report: audit.Report | None
    receipts: Sequence[Given]
    search: issued.Search
    pdfs: Sequence[issued.State]


def lines(seen: Seen, *, roots: bool) -> list[str]:
    """Return the lines that tell a person what was seen, findings last."""
    report, given = seen.report, seen.receipts
    told = [line for log in (report.logs if report else ()) for line in _of_log(log, roots=roots)]
    told += [line for one in given for line in _of_receipt(one)]
    told += [line for pdf, state in zip(seen.search.pdfs, seen.pdfs, strict=True) for line in _of_pdf(pdf, state, seen)]
    found = _findings(report, given)
    told += [findings.tell(finding) + (f" [journal {finding.log}]" if finding.log else "") for finding in found]
    hidden = sum(report.counts.values()) - len(report.findings) if report else 0
    told += [f"… et {hidden} {agree(hidden, 'autre constat', 'autres constats')}."] if hidden else []
    return [shown(line) for line in told]


def shown(words: str) -> str:
    """Return words as one line that a terminal only shows: what was read may hold orders to it, or lines that look like ours."""
    return "".join(f"\\u{ord(one):04x}" if unicodedata.category(one) in _UNSEEN else one for one in words)


def as_json(status: int, words: str, seen: Seen) -> str:
    """Return all of it for a program."""
    report, given, found = seen.report, seen.receipts, seen.search.found
    result = {
        "status": status,
        "conclusion": words,
        "logs": [asdict(log) for log in report.logs] if report else [],
        "findings": [finding._asdict() for finding in _findings(report, given)],
        "counts": dict(report.counts) if report else {},
        "receipts": [
            {
                "name": one.name,
                "header": one.verdict.header and one.verdict.header._asdict(),
                "facts": one.verdict.facts,
                "token": one.token,
                "dated": timestamp.written(one.stated.time) if one.stated else "",
                "accuracy": one.stated and one.stated.accuracy,
                "latest": timestamp.written(one.stated.latest) if one.stated else "",
                "wanting": one.wanting,
            }
            for one in given
        ],
        "pdfs": [
            {
                "name": pdf.name,
                "sha256": pdf.sha256,
                "state": state,
                "verified": state == "issued",
                "issued": found[pdf.sha256]._asdict() if pdf.sha256 in found else None,
            }
            for pdf, state in zip(seen.search.pdfs, seen.pdfs, strict=True)
        ],
    }
    return json.dumps(result, ensure_ascii=False, indent=1)


def _findings(report: audit.Report | None, given: Sequence[Given]) -> list[Finding]:
    return [*(report.findings if report else ()), *(finding for one in given for finding in one.verdict.findings)]


def _of_log(log: logs.LogReport, *, roots: bool) -> list[str]:
    tokens = len(log.timestamps)
    there = agree(tokens, "jeton d’horodatage présent", "jetons d’horodatage présents")
    checked = agree(log.checked, "vérifié")
    unchecked = agree(tokens, "il ne compte pas", "ils ne comptent pas")
    since = f" depuis le {log.unanchored_since}" if log.unanchored_since else ""
    return [
        f"Journal {log.log} ({log.origin})",
        f"  {log.size} {agree(log.size, 'enregistrement')}, le dernier du {log.time}",
        f"  tête {log.head}",
        f"  racine {log.root}",
        f"  {log.purged} {agree(log.purged, 'contenu effacé', 'contenus effacés')}, {log.withheld} {agree(log.withheld, 'retenu')}, "
        f"couverts par vos ancres : {log.trusted_size}",
        f"  {log.unanchored} {agree(log.unanchored, 'enregistrement')} sans ancre qui date{since}",
        f"  {tokens} {there}, "
        + (
            f"{log.checked} {checked}, dernière date certaine : {_date(log.dated, log.accuracy, log.latest) or '—'}"
            if roots
            else f"non {agree(tokens, 'vérifié')} sans --tsa-root : {unchecked}"
        ),
        *(_of_unvouched(len(log.unvouched)) if log.unvouched else ()),
    ]


def _of_unvouched(count: int) -> list[str]:
    theirs = agree(count, "jeton est d’une autorité", "jetons sont d’une autorité")
    what = agree(count, "non vérifié, il ne date rien", "non vérifiés, ils ne datent rien")
    return [f"  {count} {theirs} dont la racine n’est pas donnée (--tsa-root) : {what}"]


def _date(time: str, accuracy: float | None, latest: str) -> str:
    """Return a token's time with what it says of its accuracy; as it is when there is none."""
    if accuracy is None:
        return time and f"{time}, dont le jeton ne dit pas la précision"
    seconds = f"{accuracy:g}".replace(".", ",")
    return f"{time}, à {seconds}\N{NO-BREAK SPACE}s près, soit {latest} au plus tard"


def _of_receipt(one: Given) -> list[str]:
    header, facts = one.verdict.header, one.verdict.facts
    if one.wanting:
        return [
            f"Reçu {one.name} : du journal « {one.wanting} », dont la clé n’est pas donnée ; sans elle il ne prouve rien"
        ]
    if not header or not facts:
        return [f"Reçu {one.name} : il ne prouve rien"]
    shown = ["  seul ce reçu est vérifié : ce qu’affiche le PDF qui le porte ne l’est pas, et ne prouve rien"]
    return [
        f"Reçu {one.name} : enregistrement {header.sequence} du journal {header.log}",
        *(shown if ".pdf" in one.name.lower() else ()),
        *(("  ce journal est un autre que celui de la clé donnée, qui l’a signé aussi",) if one.renamed else ()),
        f"  {header.operation}, le {header.time}",
        f"  {_TOKENS[one.token]}{_dated(one)}",
        *json.dumps(facts, ensure_ascii=False, indent=1).split("\n"),
    ]


def _dated(one: Given) -> str:
    stated = one.stated
    return _date(timestamp.written(stated.time), stated.accuracy, timestamp.written(stated.latest)) if stated else ""


def _of_pdf(pdf: issued.Pdf, state: issued.State, seen: Seen) -> list[str]:
    at = seen.search.found.get(pdf.announced if state == "altered" else pdf.sha256)
    words = f"{_PDFS[state]} {at.sequence} du journal {at.log}, le {at.time}" if at else _PDFS[state]
    return [f"PDF {pdf.name} : {words}", f"  SHA-256 {pdf.sha256}"]


_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_TOKENS: dict[Token, str] = {
    "absent": "provisoire : aucun jeton d’horodatage",
    "unchecked": "jeton d’horodatage non vérifié (--tsa-root)",
    "verified": "déjà scellé à la date certaine du ",
    "unvouched": "jeton d’horodatage non vérifié : la racine de son autorité n’est pas donnée (--tsa-root)",
    "refused": "jeton d’horodatage refusé",
}
_PDFS: dict[issued.State, str] = {
    "issued": "remis tel quel, octet pour octet, selon l’enregistrement",
    "altered": "changé : ses octets ne sont plus ceux du PDF que le dossier annonce sous ce nom, et qui a été remis selon l’enregistrement",
    "foreign": "aucun enregistrement de cet export n’est celui de sa remise, et tous se lisent : "
    "ce n’est pas le PDF que ce journal a remis",
    "later": "il se dit établi moins d’une heure avant la fin de cet export, ou depuis, et sa remise peut avoir été inscrite plus tard : "
    "demandez un export plus récent, qui dira s’il a été remis",
    "hidden": "cet export ne permet pas de dire s’il a été remis : des enregistrements de remise ne s’y lisent pas",
    "unconfirmed": "aucun des reçus donnés n’est celui de sa remise : il a été changé, ou vient d’ailleurs",
    "bare": "aucun reçu n’y est joint, et ses pages seules ne prouvent rien : donnez aussi un export, ou le reçu de sa remise",
    "unsought": "pour savoir s’il a été remis tel quel, donnez aussi un export, ou le reçu de sa remise (attestation.issued)",
}
