"""The one family of what the verifier refuses to read or to write."""


class Fault(ValueError):  # noqa: N818 — a fault is a state of what was read, not of the program
    """Something that is not of the journal's format, or that does not verify."""
