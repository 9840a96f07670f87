"""The journal and the stored documents, verified by the operator."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from mespieces.cli import console
from mespieces.domain import activity, checkpoints, continuity, documents, exports, french, subtrees, verifications
from mespieces.domain import journal as records
from mespieces.errors import Refusal, Refused
from mespieces.gateways import Gateways
from mespieces.models import Document

LONG = 20_000
"""Records from which an export is long enough for somebody at a terminal to wonder how far it is."""


HEAD = {
    "log": "Journal",
    "origin": "Origine",
    "size": "Taille",
    "head": "Tête",
    "root": "Racine",
    "time": "Dernier enregistrement",
}
"""What a head holds, in words."""


class NothingToReopen(Refused):
    """Reopening ends a journal for good: not done to one that goes on well."""

    message = (
        "Le journal n’est pas interrompu : il n’y a aucune raison de le fermer, et rien n’est fait. Pour en ouvrir un nouveau "
        "malgré tout, ajoutez --anyway."
    )


@click.group()
def journal() -> None:
    """Journal : sa tête, sa vérification, son export."""


@journal.command()
@console.json_option
def head(*, as_json: bool) -> None:
    """Montre la tête du journal : taille, dernière empreinte, racine de l’arbre."""
    with console.opened(check_journal=False) as gateways:
        found = asdict(checkpoints.head(gateways))
        suspended = continuity.watch(gateways) is not None
    words = [f"{HEAD[name]} : {value}" for name, value in found.items() if name in HEAD]
    if suspended:
        words.append("Interrompu : rien n’y est plus inscrit, voir « mespieces check ».")
    if not found["sound"]:
        words.append(
            "Rien de nouveau n’est signé : ceci est le dernier point de contrôle, que la base de données contredit."
        )
    console.tell(found, "\n".join(words), as_json=as_json)


@journal.command()
@console.json_option
@click.pass_context
def verify(ctx: click.Context, *, as_json: bool) -> None:
    """Relit tout le journal ; sort avec 1 si quelque chose y a été changé. Dit aussi ce qu’un journal fermé a perdu."""
    with console.opened(check_journal=False) as gateways:
        result, losses = verifications.verify(gateways), continuity.losses()
    said = [f"Journal intact : {french.counted(result.size, 'enregistrement relu', 'enregistrements relus')}."]
    if result.findings:
        said = ["Le journal a été altéré :", *_findings(result)]
    found = {
        "intact": not result.findings,
        "size": result.size,
        "findings": list(result.findings),
        "counts": result.counts,
        "lost": _lost(losses),
    }
    console.tell(found, "\n".join([*said, *map(continuity.tell, losses)]), as_json=as_json)
    ctx.exit(1 if result.findings else 0)


def _findings(result: verifications.Verification) -> Iterator[str]:
    """Yield a line for each finding that was kept, and one for the others of its kind."""
    for code, first, others in verifications.by_code(result):
        yield from first
        if others:
            yield f"… et {others} autre{'s' if others > 1 else ''} {code}"


@journal.command()
@click.argument("folder", metavar="DOSSIER", type=click.Path(file_okay=False, path_type=Path))
@console.json_option
def export(folder: Path, *, as_json: bool) -> None:
    """Écrit tout le journal dans DOSSIER, vérifiable sans ce produit par « mespieces-verify DOSSIER »."""
    with console.opened() as gateways:
        with _followed(exports.records()) as told:
            size = exports.write(gateways, folder, by=records.OPERATOR, told=told)
        vkey = checkpoints.vkey(gateways)
    done = french.counted(size, "enregistrement exporté", "enregistrements exportés")
    words = f"{done} dans {folder}.\nVérifier : mespieces-verify {folder} --vkey '{vkey}'"
    console.tell({"folder": folder, "size": size, "vkey": vkey}, words, as_json=as_json)


@contextmanager
def _followed(total: int) -> Iterator[Callable[[int], None]]:
    """Give what draws how far a long export is: on a terminal, and nowhere else."""
    if total < LONG or not sys.stderr.isatty():
        yield lambda _count: None
        return
    with click.progressbar(length=total, label="Export", file=sys.stderr, show_pos=True) as bar:
        yield bar.update


@journal.command()
@click.option("--yes", "confirmed", is_flag=True, help="Ne demande pas de confirmation.")
@click.option("--anyway", is_flag=True, help="Même si le journal n’est pas interrompu.")
@console.json_option
def reopen(*, confirmed: bool, anyway: bool, as_json: bool) -> None:
    """Ferme le journal et en ouvre un nouveau qui le cite : après la restauration d’une base plus ancienne."""
    with console.opened(check_journal=False) as gateways:
        wrong = continuity.watch(gateways)
        if not (wrong or anyway or not checkpoints.head(gateways).sound):
            raise NothingToReopen
        if not confirmed:
            click.echo(str(wrong or "Aucune perte connue."), err=True)
            console.confirm("Ouvrir un nouveau journal ? Celui-ci restera lisible et vérifiable, sans suite.")
        old, before = records.head(), continuity.losses()
        opened = continuity.reopen(gateways)
        vkey = checkpoints.vkey(gateways)
        losses = [one for one in continuity.losses() if one not in before]
    found = {"log": opened.log, "previous": old.log, "size": old.size, "vkey": vkey, "lost": _lost(losses)}
    words = [
        f"Journal {old.log} fermé à {french.counted(old.size, 'enregistrement')}.",
        *(map(continuity.tell, losses) if losses else ["Aucune perte connue."]),
        f"Nouveau journal {opened.log}, qui le cite. Nouvelle clé à publier : {vkey}",
    ]
    console.tell(found, "\n".join(words), as_json=as_json)


def _lost(losses: list[continuity.Loss]) -> list[dict[str, object]]:
    """Return losses as programs read them; how many of the kept records were replaced is not known."""
    return [
        {"log": one.log, "kept": one.kept, "known": one.known, "lost": None if one.replaced else one.known - one.kept}
        for one in losses
    ]


@journal.command()
@console.json_option
def recount(*, as_json: bool) -> None:
    """Refait, d’après le journal, ce qui le résume : opérations de chaque jour (/audit) et empreintes gardées de l’arbre."""
    with console.opened(check_journal=False):
        activity.recount()
        size, changed = sum(row.size for row in (records.head(), *records.closed())), subtrees.remake()
    told = french.counted(size, "enregistrement compté", "enregistrements comptés")
    mended = french.counted(changed, "empreinte gardée corrigée", "empreintes gardées corrigées")
    console.tell({"size": size, "subtrees": changed}, f"{told} de nouveau, {mended}.", as_json=as_json)


@click.group()
def storage() -> None:
    """Stockage : recalcule l’empreinte de chaque pièce."""


@storage.command("verify")
@console.json_option
@click.pass_context
def verify_storage(ctx: click.Context, *, as_json: bool) -> None:
    """Relit chaque pièce conservée et compare son empreinte à celle du dépôt ; sort avec 1 si l’une diffère."""
    with console.opened() as gateways:
        query = Document.select().where(Document.deleted_at.is_null(), Document.wrapped_key.is_null(False))
        kept = list(query.order_by(Document.added_at))
        wrong = [_told(row, reason) for row in kept if (reason := _reason(gateways, row))]
    lines = [f"Dépôt {row['deposit']}, pièce {row['number']} : {row['reason']}" for row in wrong]
    read = french.counted(len(kept), "pièce relue", "pièces relues")
    good = french.agree(len(kept), "conforme à son empreinte", "toutes conformes à leur empreinte")
    words = "\n".join(lines) or f"{read} : {good}."
    console.tell({"intact": not wrong, "documents": len(kept), "wrong": wrong}, words, as_json=as_json)
    ctx.exit(1 if wrong else 0)


def _told(document: Document, reason: str) -> dict[str, object]:
    where = {"deposit": document.deposit.office_reference, "number": document.number}
    return {"document": document.id, **where, "reason": reason}


def _reason(gateways: Gateways, document: Document) -> str:
    """Return what is wrong with a stored document, nothing when its fingerprint is the one of its deposit."""
    try:
        with documents.open_file(gateways, document) as plaintext:
            found = gateways.vault.fingerprint(plaintext)
    except Refusal as error:
        return str(error)
    return "" if found == document.fingerprint else "son empreinte n’est plus celle du dépôt."
