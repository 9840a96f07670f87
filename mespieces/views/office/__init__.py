"""For offices: signing in, the list of deposits, a deposit from its first document to its story."""

from mespieces.views.office import about, account, changes, drafts, filed, invited, proofs, proving, signing_in, team
from mespieces.views.office.door import ProofNeeded, bp, guard, remember
from mespieces.views.office.proving import ask

__all__ = [
    "ProofNeeded",
    "about",
    "account",
    "ask",
    "bp",
    "changes",
    "drafts",
    "filed",
    "guard",
    "invited",
    "proofs",
    "proving",
    "remember",
    "signing_in",
    "team",
]
