"""For offices: signing in, the list of deposits, a deposit from its first document to its story."""

from mespieces.views.office import about, account, drafts, filed, invited, proving, signing_in, team
from mespieces.views.office.door import ProofNeeded, bp, guard

__all__ = [
    "ProofNeeded",
    "about",
    "account",
    "bp",
    "drafts",
    "filed",
    "guard",
    "invited",
    "proving",
    "signing_in",
    "team",
]
