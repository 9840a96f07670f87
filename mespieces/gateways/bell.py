"""The bell the domain rings after a commit, so that waiting rows are taken up at once.

Losing a ring loses nothing: a periodic task looks for the same rows.
"""

from collections.abc import Callable


class Bell:
    """Rings whoever listens; silent until somebody does."""

    def __init__(self) -> None:
        self._listener: Callable[[str], None] | None = None

    def answer_with(self, listener: Callable[[str], None]) -> None:
        """Have `listener` called with the name of the work at each ring."""
        self._listener = listener

    def ring(self, work: str) -> None:
        """Say that rows of `work` (`mail`, `previews`, `expiry`, …) are waiting."""
        if self._listener:
            self._listener(work)
