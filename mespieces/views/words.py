"""Dates, sizes and the journal's operations as French people read them."""

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from markupsafe import Markup

from mespieces.domain import codes, documents, french, journal, offices
from mespieces.domain.deposits import State
from mespieces.domain.verifications import Beside
from mespieces.verifier import findings
from mespieces.views import current, operations

STATES = {
    State.DRAFT: ("Brouillon", "grey"),
    State.FILED: ("Déposé", ""),
    State.ENDED: ("Terminé", "grey"),
    State.WITHDRAWN: ("Retiré", "bad"),
}
"""Each state, its word and its colour."""

WAYS = {
    "": "à choisir par le destinataire",
    "act": "sans second code",
    "app": "code d’une application",
    "email": "code par courriel",
    "office": "code donné par l’étude",
}

NOTICES = {
    "factur-x": "contient la facture électronique (Factur-X)",
    "attachments": "contient des fichiers joints",
    "javascript": "contient un programme, qui n’est jamais exécuté ici",
    "launch": "contient un lien vers un programme, jamais exécuté ici",
    "form": "contient un formulaire",
    "no-text": "image sans texte : illisible par un lecteur d’écran",
    "signed": "signé électroniquement",
}

MODES = {
    "page": "affichée",
    "text": "affichée en texte",
    "file": "téléchargée",
    "bundle": "téléchargée avec l’ensemble",
}

ATTESTED = {
    "deposit": "Attestation de dépôt établie",
    "consultation": "Attestation de consultation établie",
    "deletion": "Attestation de suppression établie",
    "statement": "Relevé des consultations établi",
    "dossier": "Dossier de preuve établi",
}

_FORMATS = {
    "application/pdf": "PDF", "image/jpeg": "JPEG", "image/png": "PNG",
    "image/tiff": "TIFF", "image/heic": "HEIC", "image/webp": "WebP",
}  # fmt: skip


def pages(value: int) -> str:
    """Return « 1 page », « 117 pages »."""
    return french.counted(value, "page")


def file_format(media_type: str) -> str:
    """Return the format's short name."""
    return _FORMATS.get(media_type, "fichier")


def notices(document: Any) -> list[str]:
    """Return in words what was noticed of a document."""
    return [NOTICES[word] for word in document.notices.split() if word in NOTICES]


def nature(document: Any) -> str:
    """Return the words for a document's nature."""
    return documents.NATURES.get(document.nature, "")


def happened(entry: journal.Entry) -> str:
    """Return what a record tells, in one sentence; what kind of operation it was when its content was erased."""
    if not entry.body:
        return f"{operations.name(entry.operation)} (contenu effacé au terme des délais)"
    try:
        who, what, detail = entry.body["author"]["name"], entry.body["object"], entry.body["detail"]
        tell = _SENTENCES.get(entry.operation)
        return tell(who, what, detail) if tell else f"{operations.name(entry.operation)} · {who}"
    except (LookupError, TypeError, ValueError, AttributeError):  # who steals the key signs records of any shape
        return operations.name(entry.operation)


def about(entry: journal.Entry, names: Mapping[str, str]) -> str:
    """Return which deposit and which recipient a record is about, by `names`, unless its sentence says so: « NTE-4821 · A. Payet »."""
    what, told = entry.body["object"] if entry.body else {}, happened(entry)
    known = (names.get(what.get(key, "")) for key in ("deposit", "recipient"))
    return " · ".join(name for name in known if name and name not in told)


def _identified(who: str, _what: dict[str, Any], _detail: dict[str, Any]) -> str:
    return f"Identification réussie\u00a0: {who}"


def _refused(who: str, _what: dict[str, Any], detail: dict[str, Any]) -> str:
    step = "code à usage unique" if detail.get("step") == "code" else "code d’accès"
    return f"Essai refusé pour {who} ({step})"


def _incident(_who: str, _what: dict[str, Any], detail: dict[str, Any]) -> str:
    if detail.get("kind") == "mail.refused":
        return f"Courriel au destinataire refusé ({detail.get('reason', '')})"
    if detail.get("kind") == "clock.drift":
        seconds = int(detail.get("seconds", 0))
        side = "en avance" if seconds > 0 else "en retard"
        return f"Horloge {side} de {french.counted(abs(seconds), 'seconde')}, selon {detail.get('authority', '')}"
    return "Incident"


def _corrected(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the name that was corrected, or whose other particulars were."""
    former, name = before.get("name", ""), after.get("name", "")
    return f"« {former} » corrigé en « {name} »" if former != name else f"Destinataire {name} corrigé"


def _member_changed(who: str, _what: dict[str, Any], detail: dict[str, Any]) -> str:
    name, before, after = (detail.get(key) or "" for key in ("name", "from", "to"))
    told = {
        "invitation": "Nouvelle invitation envoyée à un membre",
        "role": f"{who} a changé le rôle de {name} : {offices.ROLES.get(before, '')}, puis {offices.ROLES.get(after, '')}",
        "belonging": f"{name} n’est plus membre de l’étude (par {who})",
        "recovery_codes": f"{who} a tiré de nouveaux codes de secours",
        "password": f"Mot de passe de {who} changé",
        "totp": f"Application de codes de {who} changée",
    }
    changed = detail.get("changed") or [""]
    return (
        told.get(changed[0], "") if len(changed) == 1 or detail.get("invitation") else "Accès d’un membre réinitialisé"
    )


def _signed_in(who: str, _what: dict[str, Any], detail: dict[str, Any]) -> str:
    spare = f" par un code de secours, il en reste {detail.get('left')}" if detail.get("recovery") else ""
    return f"{'Nouvelle preuve donnée par' if detail.get('again') else 'Connexion de'} {who}{spare}"


def _read(who: str, _what: dict[str, Any], detail: dict[str, Any]) -> str:
    if "export" in detail:
        return f"{who} a {'téléchargé' if detail.get('downloaded') else 'demandé'} un export du journal"
    if "record" in detail:
        return f"{who} a lu l’enregistrement n°\u00a0{french.number(detail['record'])} du journal"
    wanted = [*_period(detail), operations.KINDS.get(detail.get("kind", ""), "").lower()]
    wanted += ["un dépôt" if len(detail["deposits"]) == 1 else "plusieurs dépôts"] if "deposits" in detail else []
    wanted += (
        ["un destinataire" if detail["recipients"] == 1 else "plusieurs destinataires"]
        if "recipients" in detail
        else []
    )
    told = ", ".join(filter(None, wanted))
    return f"{who} a lu le journal" + (f" ({told})" if told else "")


def _period(detail: dict[str, Any]) -> list[str]:
    named = (("du", "from"), ("au", "to"))
    days = [f"{word} {french.day(date.fromisoformat(detail[key]))}" for word, key in named if key in detail]
    return [" ".join(days)]


_SENTENCES: dict[str, Callable[[str, dict[str, Any], dict[str, Any]], str]] = {
    "deposit.created": lambda who, what, d: (
        f"Brouillon ouvert par {who}{', en remplacement d’un dépôt retiré' if d.get('replaces') else ''}"
    ),
    "document.deposited": lambda who, what, d: f"{who} a ajouté « {d.get('filename', '')} »",
    "document.withdrawn": lambda who, what, d: f"{who} a retiré « {d.get('filename', '')} »",
    "recipient.added": lambda who, what, d: f"Destinataire ajouté : {d.get('name', '')}",
    "recipient.corrected": lambda who, what, d: (
        f"{_corrected(d.get('from', {}), d.get('to', {}))} par {who} ({d.get('motive', '')})"
    ),
    "deposit.withdrawn": lambda who, what, d: (
        f"Brouillon abandonné par {who}" if d.get("draft") else f"Dépôt retiré par {who} ({d.get('motive', '')})"
    ),
    "deposit.filed": lambda who, what, d: f"Dépôt de {french.counted(len(d.get('documents', [])), 'pièce')} par {who}",
    "recipient.access_issued": lambda who, what, d: f"Feuillet d’accès imprimé par {who}",
    "recipient.channel_chosen": lambda who, what, d: (
        f"Moyen choisi par {f'l’étude pour {who}' if d.get('set_by') == 'office' else who} : {WAYS.get(d.get('way', ''), '')}"
    ),
    "recipient.channel_reset": lambda who, what, d: (
        f"Façon de recevoir le code changée par {who} ({d.get('motive', '')})"
    ),
    "deposit.forgotten": lambda who, what, d: "Références et codes d’accès effacés, six mois après la fin",
    "recipient.second_step_waived": lambda who, what, d: f"Second code dispensé par {who} ({d.get('motive', '')})",
    "code.issued": lambda who, what, d: (
        f"{who} a donné un code ({d['reason']})" if d.get("reason") else f"Code envoyé à {who}"
    ),
    "recipient.identified": _identified,
    "recipient.refused": _refused,
    "document.consulted": lambda who, what, d: f"{who} a ouvert la pièce {what.get('number')}",
    "document.delivered": lambda who, what, d: f"Pièce {what.get('number')} {MODES.get(d.get('mode', ''), 'remise')}",
    "document.interrupted": lambda who, what, d: f"Pièce {what.get('number')} : envoi interrompu",
    "document.corrupted": lambda who, what, d: f"Pièce {what.get('number')} altérée : consultation refusée",
    "incident.recorded": _incident,
    "signification.recorded": lambda who, what, d: f"Signification saisie par {who}",
    "signification.corrected": lambda who, what, d: f"Signification corrigée par {who}",
    "deposit.expired": lambda who, what, d: "Fin de la mise à disposition",
    "document.deleted": lambda who, what, d: f"Pièce {what.get('number')} supprimée",
    "attestation.issued": lambda who, what, d: f"{ATTESTED.get(d.get('kind', ''), 'Attestation établie')} pour {who}",
    "office.added": lambda who, what, d: f"Étude ouverte : {d.get('name', '')}",
    "member.added": lambda who, what, d: f"Membre ajouté : {d.get('name', '')}",
    "member.changed": _member_changed,
    "member.signed_in": _signed_in,
    "member.refused": lambda who, what, d: f"{'Preuve' if d.get('again') else 'Connexion'} refusée pour {who}",
    "journal.anchored": lambda who, what, d: (
        f"{french.counted(d.get('size', 0), 'enregistrement daté', 'enregistrements datés')} par {d.get('authority', '')}"
    ),
    "journal.read": _read,
    "journal.exported": lambda who, what, d: f"Journal exporté pour {who}",
}


_FINDINGS = {
    Beside.PROJECTION_ALTERED: "ce par quoi cet enregistrement se retrouve n’est pas ce que dit son en-tête",
    Beside.TABLE_ALTERED: "une ligne des tables du service, à côté du journal, ne dit pas ce que dit cet enregistrement",
    Beside.SUBTREE_ALTERED: "une empreinte gardée pour aller plus vite, qui s’arrête ici, n’est pas celle des enregistrements",
    Beside.VALUE_UNREADABLE: "une valeur, ici ou à côté, n’est rien que le service écrive ; la suite n’a pas pu être relue",
    Beside.ACTIVITY_ALTERED: "le nombre d’opérations affiché pour ce jour n’est pas celui du journal",
}


def finding(told: str) -> str:
    """Return in words what the full verification found: `SEQUENCE CODE` or `DAY CODE`, then the name of a closed journal."""
    where, code, *closed = told.split(" ")
    about = f"journal {closed[0]}, fermé" if closed else ""
    if code in findings.Code.__members__:
        return findings.tell(findings.Finding(findings.Code(code), int(where), about=about))
    return f"{code} {where} : {_FINDINGS[Beside(code)]}" + (f" ({about})" if about else "")


def drift(seconds: float) -> str:
    """Return « 0,2 seconde en avance », « 3 secondes en retard », « à l’heure » when a tenth is not reached."""
    size = abs(seconds)
    if size < 0.05:
        return "à l’heure"
    amount = f"{size:.1f}".replace(".", ",") if size < 10 else french.number(round(size))
    return f"{amount}\u00a0seconde{'s' if size >= 1.95 else ''} {'en avance' if seconds > 0 else 'en retard'}"


def refused_mail(recipient: Any) -> str:
    """Return « Courriel refusé le … : 550 … », empty when nothing was refused lately."""
    if recipient.mail_refused_at is None:
        return ""
    words = recipient.mail_refused_because
    what = "refusé" if words[:1].isdigit() else "non parti"  # a server's words begin with its number
    return f"Courriel {what} le {french.instant_short(recipient.mail_refused_at)} : {words}"


def spaced(text: object) -> str:
    """Return a sentence with the no-break spaces that French wants, where it was written with plain ones."""
    narrow = re.sub(r" (?=[;!?](?:\s|$))", "\u202f", str(text))
    return re.sub(r" (?=[:»])|(?<=«) ", "\u00a0", narrow)


def options(command: str) -> Markup:
    """Return a command to copy, already escaped, whose options no line breaks after their dashes."""
    return Markup(re.sub(r"(?<=\s)--?[A-Za-z][A-Za-z-]*", r'<span class="nb">\g<0></span>', str(command)))  # noqa: S704


def way_of(recipient: Any) -> str:
    """Say how a recipient receives codes, or is to receive them."""
    alone = current.gateways().settings.act_alone
    if recipient.second_step_waived_because is not None and alone != "refuse":
        return WAYS["act"]
    bound = recipient.way if recipient.way != "act" or alone == "anyone" else None
    way = bound or recipient.way_required
    return WAYS[way or ("email" if recipient.email else "")]


FILTERS: dict[str, Callable[..., object]] = {
    "date_fr": french.day,
    "way_fr": way_of,
    "code_fr": codes.show,
    "instant_fr": french.instant,
    "instant_short": french.instant_short,
    "clock_fr": french.clock,
    "last_day": french.last_day,
    "duration_fr": french.duration,
    "size_fr": documents.size_in_words,
    "number_fr": french.number,
    "counted_fr": french.counted,
    "agree_fr": french.agree,
    "pages_fr": pages,
    "format_fr": file_format,
    "notices_fr": notices,
    "nature_fr": nature,
    "refused_mail_fr": refused_mail,
    "finding_fr": lambda told: spaced(finding(told)),
    "drift_fr": drift,
    "operation_fr": operations.name,
    "author_fr": operations.author,
    "identified_fr": operations.identified,
    "about_fr": about,
    "happened": lambda entry: spaced(happened(entry)),
    "options": options,
    "spaced": spaced,
}
"""What templates may call, by name."""

GLOBALS: dict[str, object] = {
    "STATES": STATES,
    "WAYS": WAYS,
    "ROLES": offices.ROLES,
    "KINDS": operations.KINDS,
    "NATURES": documents.NATURES,
    "form_key": lambda: secrets.token_hex(16),
}
