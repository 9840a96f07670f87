"""What a verification can find, named as the format names it, and told in words to a person."""

from enum import StrEnum
from typing import NamedTuple


class Code(StrEnum):
    """The format's findings."""

    PAYLOAD_ALTERED = "PAYLOAD_ALTERED"
    PAYLOAD_MISSING = "PAYLOAD_MISSING"
    PAYLOAD_NOT_CANONICAL = "PAYLOAD_NOT_CANONICAL"
    PURGED_TOO_EARLY = "PURGED_TOO_EARLY"
    HEADER_NOT_CANONICAL = "HEADER_NOT_CANONICAL"
    PREVIOUS_MISMATCH = "PREVIOUS_MISMATCH"
    SEQUENCE_GAP = "SEQUENCE_GAP"
    TIME_WENT_BACK = "TIME_WENT_BACK"
    CHECKPOINT_MISMATCH = "CHECKPOINT_MISMATCH"
    TAIL_TRUNCATED = "TAIL_TRUNCATED"
    TAIL_LOST = "TAIL_LOST"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    BAD_TIMESTAMP = "BAD_TIMESTAMP"


class Finding(NamedTuple):
    """One fault: its name, the record it concerns, the journal it is in, and `about`, the group or file at fault."""

    code: Code
    sequence: int
    log: str = ""
    about: str = ""


def tell(finding: Finding) -> str:
    """Return the sentence, in French, that explains a finding."""
    about = f" ({_GROUPS.get(finding.about, finding.about)})" if finding.about else ""
    return f"{finding.code} {finding.sequence} : {_WORDS[finding.code]}{about}"


_WORDS = {
    Code.PAYLOAD_ALTERED: "le contenu de cet enregistrement n’est pas celui qui a été scellé",
    Code.PAYLOAD_MISSING: "le contenu de cet enregistrement manque sans que son effacement ait été annoncé",
    Code.PAYLOAD_NOT_CANONICAL: "le contenu de cet enregistrement n’a pas la forme prévue",
    Code.PURGED_TOO_EARLY: "l’effacement de ce contenu a été annoncé avant son terme, ou sans droit",
    Code.HEADER_NOT_CANONICAL: "l’en-tête de cet enregistrement n’a pas la forme prévue",
    Code.PREVIOUS_MISMATCH: "cet enregistrement ne suit pas celui qui le précède : l’un des deux a été changé",
    Code.SEQUENCE_GAP: "la numérotation est rompue à cet enregistrement",
    Code.TIME_WENT_BACK: "cet enregistrement est daté avant celui qui le précède, sans anomalie d’horloge déclarée",
    Code.CHECKPOINT_MISMATCH: "le journal ne correspond plus au point de contrôle qui le couvrait jusqu’ici",
    Code.TAIL_TRUNCATED: "la fin du journal manque à partir de cet enregistrement",
    Code.TAIL_LOST: "la fin de ce journal, rouvert ensuite, a été perdue à partir de cet enregistrement",
    Code.BAD_SIGNATURE: "la signature du point de contrôle qui s’arrête ici n’est pas celle de la clé attendue",
    Code.BAD_TIMESTAMP: "le jeton d’horodatage de ce point de contrôle manque ou n’est pas valable",
}
_GROUPS = {"proof": "qui et quoi", "trace": "adresse et navigateur"}
