"""The one family of what the verifier refuses to read or to write."""


class Fault(ValueError):  # noqa: N818 — a fault is a state of what was read, not of the program
    """Something that is not of the journal's format, or that does not verify."""


class Unreadable(Fault):
    """The export cannot be read: nothing can be said of the journal."""


def why(error: OSError) -> str:
    """Return, in French, why a file could not be read: the system's own words are in whatever language it speaks."""
    name = f"« {error.filename} » " if error.filename else "un fichier "
    return name + next((words for kind, words in _WHY.items() if isinstance(error, kind)), "ne peut pas être lu")


_WHY: dict[type[OSError], str] = {
    FileNotFoundError: "n’existe pas",
    PermissionError: "ne vous est pas ouvert en lecture",
    IsADirectoryError: "est un dossier, et il faut un fichier",
}
