"""The families of refusals, each carrying a French sentence a person understands.

A refusal is named as a state and stands beside its rule, in a domain or gateway module; it derives from one of these
families. Only `app.py` knows which HTTP status a family becomes.
"""


class Refusal(Exception):  # noqa: N818 — a refusal is a state the product is in, not a fault of the program
    """Something was asked that the rules refuse; `str()` is the French sentence to show.

    Where it takes a page of its own, `heading` is its title and `advice` what to do; a family's hold for all its states.
    """

    message = "Cette demande n’a pas pu être satisfaite."
    heading = "Demande refusée"
    advice = "Revenez à la page précédente, rechargez-la, puis recommencez."

    def __init__(self, **details: object) -> None:
        self.details = details
        super().__init__(self.message.format(**details))


class NotFound(Refusal):
    """What is asked does not exist, or is not the caller's."""

    message = "Cette page n’existe pas, ou ne vous est pas destinée."
    heading = "Page introuvable"
    advice = "Vérifiez l’adresse que vous avez saisie, ou repartez d’ici."


class Refused(Refusal):
    """The state of things forbids it."""

    heading = "Ce n’est plus possible"
    advice = "Revenez à la page précédente et rechargez-la : elle montre où en sont les choses."


class Expired(Refusal):
    """It was there, and its time is over."""

    heading = "C’est terminé"
    advice = "Pour toute question, appelez le numéro figurant sur l’acte."


class TooLarge(Refusal):
    """More bytes than the office's limit."""

    message = "Ce fichier dépasse la taille permise de {limit}."
    heading = "Fichier trop volumineux"
    advice = "Réduisez la taille du fichier, ou séparez-le en plusieurs, puis recommencez."


class Unsupported(Refusal):
    """A format that would ask an unreasonable effort of the recipient (art. 2)."""

    heading = "Format non accepté"
    advice = "Enregistrez le document au format PDF, sans mot de passe, puis recommencez."


class Invalid(Refusal):
    """What was typed cannot be taken; `field` names where. The only family a view may catch."""

    field: str = ""
    heading = "Saisie à corriger"
    advice = "Revenez à la page précédente et corrigez ce qui est indiqué."

    def __init__(self, *, field: str = "", **details: object) -> None:
        if field:
            self.field = field
        super().__init__(**details)


class TooMany(Refusal):
    """Too many attempts; `retry_after` is in whole seconds."""

    heading = "Trop d’essais"
    advice = "Si cela dure, appelez le numéro figurant sur l’acte : l’étude vous aidera."

    def __init__(self, *, retry_after: int, **details: object) -> None:
        self.retry_after = retry_after
        super().__init__(**details)


class Unavailable(Refusal):
    """Something the product depends on does not answer: nothing was done, try again later."""

    message = "Le service est momentanément indisponible. Rien n’est perdu : réessayez dans quelques instants."
    heading = "Service momentanément indisponible"
    advice = (
        "Réessayez dans quelques minutes. Si cela dure, appelez le numéro figurant sur l’acte, "
        "et donnez la référence ci-dessous."
    )


class ValueUnreadable(Unavailable, ValueError):  # noqa: N818 — a state, as all of these
    """The database holds what the service never writes there: it was changed behind its back."""

    message = (
        "La base de données de ce service contient une valeur qu’il n’écrit jamais, et qu’il ne peut pas lire. La personne qui "
        "exploite le service en est informée."
    )
    advice = "Réessayer n’y changera rien. Appelez le numéro figurant sur l’acte, et donnez la référence ci-dessous."
