"""`mespieces-verify`: what an auditor runs, with anchors of their own, on an export or a receipt."""

import argparse
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from mespieces.verifier import audit, export, given, issued, logs, note, progress, record, telling, timestamp
from mespieces.verifier.faults import Fault, why
from mespieces.verifier.findings import Code

INTACT, TAMPERED, UNCHECKED, LAGGING = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Verify what the arguments name, tell it in French, and return the format's exit status.

    What hinders the program itself is no tampering: an output that lacks a letter shows its number, a closed one ends with 2.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    try:
        status = _verify(options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNCHECKED
    except Exception:  # noqa: BLE001 — Python would end with 1, which accuses
        traceback.print_exc()
        return _give_up(_OWN_FAULT, as_json=options.json)
    return status


def _verify(options: argparse.Namespace) -> int:
    try:
        trust = audit.Trust(
            keys=(keys := [_key(text) for text in options.vkey]),
            since=[_kept(path, keys) for path in options.since],
            roots=timestamp.read_roots(options.tsa_root.read_bytes()) if options.tsa_root else (),
        )
        receipts, pdfs = given.examine(options.receipt, trust)
        # A receipt and an export that contradict each other are two histories of one journal.
        held = replace(trust, shown=given.checkpoints(receipts))
        search = issued.Search(pdfs)
        given.look(search, receipts)
        report = _examined(options, held, search) if options.export else None
        receipts = given.compared(receipts, report.named if report else {})
    except (Fault, OSError) as error:
        words = why(error) if isinstance(error, OSError) else error
        return _give_up(f"Vérification impossible : {words}", as_json=options.json)
    if report is None and not receipts and not pdfs:
        return _give_up("Indiquez un export ou un reçu (--receipt).", as_json=options.json)
    seen = telling.Seen(report, receipts, search, _pdfs(search, report))
    status, words = _conclude(options, trust, seen)
    if options.json:
        _say(telling.as_json(status, words, seen))
    else:
        for line in [*telling.lines(seen, roots=bool(trust.roots)), words]:
            _say(line)
    return status


class _Help(argparse.RawDescriptionHelpFormatter):
    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage : ")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say that the command was not understood, in French, and end as what could not be checked."""
        wrong = next(iter(re.findall(r"--[a-z-]+", message)), message.rpartition(": ")[2])
        self.exit(UNCHECKED, f"{self.format_usage()}La commande n’est pas comprise à « {wrong} » : voyez --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mespieces-verify",
        add_help=False,
        formatter_class=_Help,
        description="Vérifie un export du journal, ou un reçu, contre les ancres de la personne qui contrôle.",
        epilog="Sorties : 0 intact ; 1 altéré ; 2 vérification impossible ; 3 intact, mais la fin n’est pas encore datée.",
    )
    what = parser.add_argument_group("Ce qui est vérifié\N{NO-BREAK SPACE}")
    anchors = parser.add_argument_group("Vos ancres\N{NO-BREAK SPACE}")
    how = parser.add_argument_group("Autrement\N{NO-BREAK SPACE}")
    what.add_argument("export", type=Path, nargs="?", metavar="EXPORT", help="dossier ou archive .zip")
    anchors.add_argument(
        "--vkey", action="append", default=[], metavar="CLÉ", help="clé publique connue (plusieurs fois)"
    )
    anchors.add_argument("--tsa-root", type=Path, metavar="PEM", help="racine de l’autorité d’horodatage")
    anchors.add_argument(
        "--since",
        type=Path,
        action="append",
        default=[],
        metavar="NOTE",
        help="point de contrôle gardé, ou journal, nombre et racine recopiés d’un papier (plusieurs fois)",
    )
    what.add_argument(
        "--receipt",
        type=Path,
        action="append",
        default=[],
        metavar="FICHIER",
        help="reçu, attestation PDF qui en porte, ou dossier de ceux-ci (plusieurs fois), avec ou sans export",
    )
    how.add_argument(
        "--max-anchor-lag",
        type=_seconds,
        metavar="SECONDES",
        help="retard permis de l’ancrage, compté jusqu’à la date de l’export",
    )
    how.add_argument("--json", action="store_true", help="écrit le résultat en JSON")
    how.add_argument("-h", "--help", action="help", help="montre cette aide")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _key(text: str) -> note.Verifier:
    try:
        return note.parse_vkey(text)
    except note.NoteRefused as error:
        raise Fault(
            f"« {text} » n’est pas la clé d’un journal : recopiez-la entière, comme /audit la montre"
        ) from error


def _kept(path: Path, keys: Sequence[note.Verifier]) -> note.Checkpoint:
    """Read a checkpoint the auditor kept; with a key at hand, its signature must be right too.

    What was copied from paper bears none: three lines, the journal, the size and the root in hexadecimal.
    """
    data = note.straighten(path.read_bytes())
    copied = note.parse_copied(data)
    if copied:
        return copied
    origin = note.stranger(data, keys)
    known = note.under(origin, keys)
    try:
        return note.read_checkpoint(data, known) if keys else note.parse_checkpoint(note.split(data)[0])
    except (note.NoteRefused, note.CheckpointRefused) as error:
        raise Fault(_OTHER.format(path.name, origin) if origin and keys else _NO_NOTE.format(path.name)) from error


def _examined(options: argparse.Namespace, trust: audit.Trust, search: issued.Search) -> audit.Report:
    with export.source(options.export) as where:
        if options.json:
            return audit.verify(where, trust, search)
        with progress.shown(where, sys.stderr) as watched:
            return audit.verify(watched, trust, search)


def _pdfs(search: issued.Search, report: audit.Report | None) -> list[issued.State]:
    ends, whole = (report.logs[0].time, not report.counts) if report else ("", False)
    return [search.judge(pdf, ends, whole=whole) for pdf in search.pdfs]


def _conclude(options: argparse.Namespace, trust: audit.Trust, seen: telling.Seen) -> tuple[int, str]:
    report, receipts = seen.report, seen.receipts
    # Without a key a receipt's signature is not wrong, only unknown.
    wrong = [
        finding
        for one in receipts
        for finding in one.verdict.findings
        if given.is_wrong(one, finding) and (trust.keys or finding.code != Code.BAD_SIGNATURE)
    ]
    # An export that nothing ties to the auditor's anchors accuses no PDF.
    strange = (not report or report.bound) and {"altered", "foreign"} & set(seen.pdfs)
    if wrong or strange or (report and report.counts):
        return TAMPERED, "ALTÉRÉ : ce qui a été présenté n’est pas ce qui avait été scellé."
    doubt = _doubt(trust, seen)
    if doubt:
        return UNCHECKED, f"NON CONCLU : {doubt}."
    if report and _lag(report.logs[0]) > (
        options.max_anchor_lag if options.max_anchor_lag is not None else float("inf")
    ):
        unchecked = (
            "" if trust.roots else " Sans --tsa-root, aucun jeton ne compte : seules vos notes (--since) ancrent."
        )
        return LAGGING, f"INTACT, mais la fin du journal n’est pas ancrée dans le délai permis.{unchecked}"
    if not trust.keys and not trust.since:
        # A token dates and does not name: what it covers existed then, whoever's journal it is (RFC 3161).
        return (
            INTACT,
            "INTACT tel qu’il a été daté : les jetons ne disent ni de qui est ce journal, ni qu’il est le seul.",
        )
    if "unsought" in seen.pdfs:
        # The receipts inside prove themselves, offline; the pages around them may be anybody's.
        return INTACT, _PAGES
    return INTACT, "INTACT : rien n’a été changé, retiré ni ajouté sous les ancres données."


def _doubt(trust: audit.Trust, seen: telling.Seen) -> str:
    """Return why nothing can be concluded of what shows no fault, "" when something can."""
    if not trust.keys and not trust.since and not trust.roots:
        return "sans ancre (--vkey, --since ou --tsa-root), rien ne prouve que ce journal est le vrai"
    missing = _missing(seen)
    if missing:
        return missing
    if (seen.report and not seen.report.bound) or not all(one.verdict.checkpoint for one in seen.receipts):
        return "les ancres données ne couvrent pas tout ce qui est présenté"
    if {"hidden", "later", "unconfirmed", "bare"} & set(seen.pdfs):
        return "rien ne dit que ce PDF, ou l’un d’eux, est celui que ce journal a remis"
    return ""


def _missing(seen: telling.Seen) -> str:
    """Return which key or root is missing to judge what was given, "" when none is."""
    receipts, logs_seen = seen.receipts, seen.report.logs if seen.report else []
    wanting = sorted({one.wanting for one in receipts if one.wanting})
    if wanting:
        names = ", ".join(f"« {origin} »" for origin in wanting)
        return _WANTING.format("du journal" if len(wanting) == 1 else "des journaux", telling.shown(names))
    if any(not given.is_wrong(one, finding) for one in receipts for finding in one.verdict.findings):
        return _NO_ROOT
    if any(log.unvouched for log in logs_seen) and not any(log.checked for log in logs_seen):
        return _OTHER_ROOT
    return ""


def _lag(log: logs.LogReport) -> float:
    """Return the seconds between the oldest record that no anchor covers and the last, which an export dates: its own."""
    if not log.unanchored_since:
        return 0
    return (record.parse_time(log.time) - record.parse_time(log.unanchored_since)) / timedelta(seconds=1)


def _give_up(words: str, *, as_json: bool) -> int:
    if as_json:
        _say(json.dumps({"status": UNCHECKED, "conclusion": words}, ensure_ascii=False))
    else:
        _say(telling.shown(words))
    return UNCHECKED


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


_OWN_FAULT = "Vérification impossible : ce programme s’est arrêté sur une faute qui est la sienne, dite ci-dessus."
_OTHER = (
    "« {} » est un point de contrôle du journal « {} », que ne signe aucune des clés données. Un journal rouvert peut en avoir "
    "une autre que celui qu’il continue : donnez les deux (--vkey, une fois par clé ; la page /audit montre chacune)."
)
_PAGES = (
    "REÇUS INTACTS, PDF NON VÉRIFIÉ : les reçus joints prouvent ce qui est dit ci-dessus ; ce que le PDF montre, lui, n’est PAS vérifié "
    "et peut avoir été changé. Pour le faire vérifier : déposez-le sur la page /audit/verifier du service, ou donnez aussi un export, "
    "ou le reçu de sa remise (attestation.issued), qui est au dossier de preuve."
)
_WANTING = (
    "aucune des clés données n’est celle {} {}, dont un reçu dit venir : donnez-la aussi (--vkey, une fois par clé ; "
    "la page /audit montre chacune)"
)
_NO_ROOT = (
    "le jeton d’un reçu est d’une autorité dont la racine n’est pas donnée : ajoutez-la au fichier de --tsa-root, ou donnez "
    "aussi un export, qui dit si ce jeton est le sien"
)
_OTHER_ROOT = (
    "aucun jeton n’est vérifié, car aucune des racines données (--tsa-root) n’est celle de leur autorité ; vérifiez que c’est le "
    "bon fichier, ou refaites sans lui : les dates ne seront alors pas vérifiées"
)
_NO_NOTE = (
    "« {} » n’est pas un point de contrôle de ce journal. Donnez la note telle qu’elle a été jointe ou "
    "téléchargée, ou recopiez dans un fichier, en trois lignes, le journal, le nombre et la racine."
)

if __name__ == "__main__":
    sys.exit(main())
