"""For offices: signing in, the list of deposits, a deposit from its first document to its story."""

from mespieces.views.office import (
    about,
    account,
    changes,
    drafts,
    exported,
    filed,
    invited,
    journals,
    proofs,
    proving,
    signing_in,
    team,
)
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
    "exported",
    "filed",
    "guard",
    "invited",
    "journals",
    "proofs",
    "proving",
    "remember",
    "signing_in",
    "team",
]
