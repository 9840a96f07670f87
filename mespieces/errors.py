"""The families of refusals, each carrying a French sentence a person understands.

A refusal is named as a state and stands beside its rule, in a domain or gateway module; it derives from one of these
families. Only `app.py` knows which HTTP status a family becomes.
"""


class Refusal(Exception):  # noqa: N818 — a refusal is a state the product is in, not a fault of the program
    """Something was asked that the rules refuse; `str()` is the French sentence to show."""

    message = "Cette demande n’a pas pu être satisfaite."

    def __init__(self, **details: object) -> None:
        self.details = details
        super().__init__(self.message.format(**details))


class NotFound(Refusal):
    """What is asked does not exist, or is not the caller's."""

    message = "Cette page n’existe pas, ou ne vous est pas destinée."


class Refused(Refusal):
    """The state of things forbids it."""


class Expired(Refusal):
    """It was there, and the law had it end."""


class TooLarge(Refusal):
    """More bytes than the office's limit."""

    message = "Ce fichier dépasse la taille permise de {limit}."


class Unsupported(Refusal):
    """A format that would ask an unreasonable effort of the recipient (art. 2)."""


class Invalid(Refusal):
    """What was typed cannot be taken; `field` names where. The only family a view may catch."""

    field: str = ""

    def __init__(self, *, field: str = "", **details: object) -> None:
        if field:
            self.field = field
        super().__init__(**details)


class TooMany(Refusal):
    """Too many attempts; `retry_after` is in whole seconds."""

    def __init__(self, *, retry_after: int, **details: object) -> None:
        self.retry_after = retry_after
        super().__init__(**details)


class Unavailable(Refusal):
    """Something the product depends on does not answer: nothing was done, try again later."""

    message = "Le service est momentanément indisponible. Rien n’est perdu : réessayez dans quelques instants."
