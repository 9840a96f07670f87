"""For offices: signing in, the list of deposits, a deposit from its first document to its story."""

from mespieces.views.office import about, changes, drafts, filed, proofs, signing_in
from mespieces.views.office.door import bp, guard

__all__ = ["about", "bp", "changes", "drafts", "filed", "guard", "proofs", "signing_in"]
