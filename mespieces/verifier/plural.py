"""Words that agree with a count, as French has it: one is singular, and so is none."""


def agree(count: int, one: str, many: str = "") -> str:
    """Return `one` for 0 and 1, else `many`: by default `one` and an s."""
    return one if count < 2 else many or f"{one}s"
