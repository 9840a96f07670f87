"""The outside world: storage, keys, mail, clock, documents, each behind a narrow promise."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mespieces.config import Settings
from mespieces.gateways.bell import Bell
from mespieces.gateways.clock import Clock
from mespieces.gateways.mail import Mail
from mespieces.gateways.timestamps import Authority
from mespieces.gateways.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """Everything the domain needs from outside, opened once at start."""

    settings: Settings
    clock: Clock
    vault: Vault
    mail: Mail
    bell: Bell
    journal_key: Ed25519PrivateKey
    authorities: tuple[Authority, ...] = ()
