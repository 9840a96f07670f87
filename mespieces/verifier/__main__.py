"""`mespieces-verify`: what an auditor runs, with anchors of their own, on an export or a receipt."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

from mespieces.verifier import audit, export, findings, note, receipt, record, timestamp
from mespieces.verifier.faults import Fault
from mespieces.verifier.findings import Code

INTACT, TAMPERED, UNCHECKED, LAGGING = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Verify what the arguments name, tell it in French, and return the format's exit status."""
    options = _parser().parse_args(argv)
    try:
        trust = audit.Trust(
            keys=[note.parse_vkey(text) for text in options.vkey],
            since=[_kept(path, options.vkey) for path in options.since],
            roots=timestamp.read_roots(options.tsa_root.read_bytes()) if options.tsa_root else (),
        )
        verdict = receipt.verify(receipt.parse(options.receipt.read_bytes()), trust.keys) if options.receipt else None
        if verdict and verdict.checkpoint:
            # A receipt and an export that contradict each other are two histories of one journal.
            trust = replace(trust, since=[*trust.since, verdict.checkpoint])
        report = _examined(options.export, trust) if options.export else None
    except (Fault, OSError) as error:
        return _give_up(f"Vérification impossible : {error}", as_json=options.json)
    if report is None and verdict is None:
        return _give_up("Indiquez un export ou un reçu (--receipt).", as_json=options.json)
    status, words = _conclude(options, trust, report, verdict)
    if options.json:
        _say(json.dumps(_json(status, words, report, verdict), ensure_ascii=False, indent=1))
    else:
        _tell(report, verdict, roots=bool(trust.roots))
        _say(words)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mespieces-verify",
        description="Vérifie un export du journal, ou un reçu, contre les ancres de la personne qui contrôle.",
        epilog="Sorties : 0 intact ; 1 altéré ; 2 vérification impossible ; 3 intact, mais la fin n’est pas encore datée.",
    )
    parser.add_argument("export", type=Path, nargs="?", metavar="EXPORT", help="dossier ou archive .zip")
    parser.add_argument(
        "--vkey", action="append", default=[], metavar="KEY", help="clé publique connue (plusieurs fois)"
    )
    parser.add_argument("--tsa-root", type=Path, metavar="PEM", help="racine de l’autorité d’horodatage")
    parser.add_argument(
        "--since", type=Path, action="append", default=[], metavar="NOTE", help="point de contrôle gardé"
    )
    parser.add_argument("--receipt", type=Path, metavar="FILE", help="reçu à vérifier, avec ou sans export")
    parser.add_argument("--max-anchor-lag", type=float, metavar="SECONDS", help="retard permis de l’horodatage")
    parser.add_argument("--json", action="store_true", help="écrit le résultat en JSON")
    return parser


def _kept(path: Path, vkeys: Sequence[str]) -> note.Checkpoint:
    """Read a checkpoint the auditor kept; with a key at hand, its signature must be right too."""
    data = path.read_bytes()
    keys = [note.parse_vkey(text) for text in vkeys]
    return note.read_checkpoint(data, keys) if keys else note.parse_checkpoint(note.split(data)[0])


def _examined(path: Path, trust: audit.Trust) -> audit.Report:
    with export.source(path) as where:
        return audit.verify(where, trust)


def _conclude(
    options: argparse.Namespace, trust: audit.Trust, report: audit.Report | None, verdict: receipt.Verdict | None
) -> tuple[int, str]:
    # Without a key a receipt's signature is not wrong, only unknown.
    wrong = (
        [finding for finding in verdict.findings if trust.keys or finding.code != Code.BAD_SIGNATURE] if verdict else []
    )
    if wrong or (report and report.counts):
        return TAMPERED, "ALTÉRÉ : ce qui a été présenté n’est pas ce qui avait été scellé."
    if not trust.keys and not trust.since:
        return UNCHECKED, "NON CONCLU : sans ancre (--vkey ou --since), rien ne prouve que ce journal est le vrai."
    if (report and not report.bound) or (verdict and not verdict.checkpoint):
        return UNCHECKED, "NON CONCLU : les ancres données ne couvrent pas tout ce qui est présenté."
    if report and _lag(report.logs[0]) > (
        options.max_anchor_lag if options.max_anchor_lag is not None else float("inf")
    ):
        return LAGGING, "INTACT, mais la fin du journal n’est pas ancrée dans le délai permis."
    return INTACT, "INTACT : rien n’a été changé, retiré ni ajouté sous les ancres données."


def _lag(log: audit.LogReport) -> float:
    """Return the seconds between the oldest record that no anchor covers and the end of the journal."""
    if not log.unanchored_since:
        return 0
    return (record.parse_time(log.time) - record.parse_time(log.unanchored_since)) / timedelta(seconds=1)


def _tell(report: audit.Report | None, verdict: receipt.Verdict | None, *, roots: bool) -> None:
    for log in report.logs if report else ():
        _say(f"Journal {log.log} ({log.origin})")
        _say(f"  {log.size} enregistrements, le dernier du {log.time}")
        _say(f"  tête {log.head}")
        _say(f"  racine {log.root}")
        _say(f"  {log.purged} contenus effacés, {log.withheld} retenus, couverts par vos ancres : {log.trusted_size}")
        _say(f"  {log.unanchored} enregistrements sans horodatage depuis le {log.unanchored_since or '—'}")
        checked = f"vérifiés, dernière date certaine : {log.dated or '—'}" if roots else "non vérifiés"
        _say(f"  {len(log.timestamps)} jetons d’horodatage présents, {checked}")
    if verdict:
        _tell_receipt(verdict)
    found = [*(report.findings if report else ()), *(verdict.findings if verdict else ())]
    for finding in found:
        _say(findings.tell(finding) + (f" [journal {finding.log}]" if finding.log else ""))
    hidden = sum(report.counts.values()) - len(report.findings) if report else 0
    if hidden:
        _say(f"… et {hidden} autres constats.")


def _tell_receipt(verdict: receipt.Verdict) -> None:
    if verdict.header and verdict.facts:
        header = verdict.header
        _say(f"Reçu de l’enregistrement {header.sequence} du journal {header.log}")
        _say(f"  {header.operation}, le {header.time}")
        _say(json.dumps(verdict.facts, ensure_ascii=False, indent=1))


def _json(status: int, words: str, report: audit.Report | None, verdict: receipt.Verdict | None) -> dict[str, object]:
    return {
        "status": status,
        "conclusion": words,
        "logs": [asdict(log) for log in report.logs] if report else [],
        "findings": [
            finding._asdict()
            for finding in [*(report.findings if report else ()), *(verdict.findings if verdict else ())]
        ],
        "counts": dict(report.counts) if report else {},
        "receipt": {"header": verdict.header and verdict.header._asdict(), "facts": verdict.facts} if verdict else None,
    }


def _give_up(words: str, *, as_json: bool) -> int:
    if as_json:
        _say(json.dumps({"status": UNCHECKED, "conclusion": words}, ensure_ascii=False))
    else:
        _say(words)
    return UNCHECKED


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
