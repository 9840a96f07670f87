"""A token that no given root vouches for: whether it is rightly signed all the same, by another authority.

Such a token dates nothing; it is not altered either. The library cannot tell the two apart: it looks at the chain first.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm

from mespieces.verifier import der

_OCTETS, _SEQUENCE, _SET, _FIRST = 0x04, 0x30, 0x31, 0xA0
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")  # RFC 5652 §11.2
_ALGORITHMS: tuple[HashAlgorithm, ...] = (SHA256(), SHA384(), SHA512())


def by_another(
    token: bytes,
    time: datetime,
    signer: x509.Certificate,
    carried: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> bool:
    """Tell whether `signer` has signed `token`, under a chain whose end is none of `roots`, nor says that it is.

    The chain is made of the certificates that the token carries, valid at its `time`; its root need not be among them. RSA
    and ECDSA with SHA-2 are known: what is signed otherwise is not told from a wrong signature. So is what ends
    below a root of the name of a given one: it should have verified. Raises `ValueError`, `LookupError` for what is no token.
    """
    chain = _chain(signer, carried)
    when = time.replace(tzinfo=time.tzinfo or UTC)
    if not chain or not all(one.not_valid_before_utc <= when <= one.not_valid_after_utc for one in chain):
        return False
    top = chain[-1]
    if top.subject == top.issuer:
        claims = any((root.subject, root.public_key()) == (top.subject, top.public_key()) for root in roots)
    else:
        claims = any(root.subject == top.issuer for root in roots)
    return not claims and _is_signed(token, signer)


def _chain(signer: x509.Certificate, carried: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Return the certificates from the signer up, as far as they are carried; none when one has not signed the one below."""
    chain = [signer]
    while True:
        parents = [one for one in carried if one.subject == chain[-1].issuer]
        if not parents:
            return chain
        parent = next((one for one in parents if _issued(chain[-1], one)), None)
        if parent is None:
            return []
        if parent in chain:  # the root, or two that vouch for each other
            return chain
        chain.append(parent)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    with suppress(InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        certificate.verify_directly_issued_by(issuer)
        return True
    return False


def _is_signed(token: bytes, signer: x509.Certificate) -> bool:
    """Tell whether the token's attributes are signed by this certificate's key, and hold the hash of what it states (RFC 5652 §5.4)."""
    parts = der.signed_data(token)
    *_, infos = [(start, end) for tag, start, end in parts if tag == _SET]
    ((_, *info),) = der.inside(token, *infos)
    members = der.members(token, *info)
    ((at, start, end),) = [place for tag, *place in members if tag == _FIRST]
    signature = next(token[begin:stop] for tag, _, begin, stop in members if tag == _OCTETS)
    content = next((begin, stop) for tag, begin, stop in parts if tag == _SEQUENCE)
    _, (_, *explicit) = der.inside(token, *content)
    ((_, *stated),) = der.inside(token, *explicit)
    (digest,) = _digests(token, start, end)
    if digest not in {_hash(algorithm, token[slice(*stated)]) for algorithm in _ALGORITHMS}:
        return False
    # They are signed as the set that they are, not under the tag that stands for it (RFC 5652 §5.4).
    data = bytes([_SET]) + token[at + 1 : end]
    return any(_verifies(signer, signature, data, algorithm) for algorithm in _ALGORITHMS)


def _digests(token: bytes, start: int, end: int) -> Iterator[bytes]:
    for _, *attribute in der.inside(token, start, end):
        (_, *kind), (_, *values) = der.inside(token, *attribute)
        if token[slice(*kind)] == _MESSAGE_DIGEST:
            ((_, *value),) = der.inside(token, *values)
            yield token[slice(*value)]


def _verifies(signer: x509.Certificate, signature: bytes, data: bytes, algorithm: HashAlgorithm) -> bool:
    key = signer.public_key()
    with suppress(InvalidSignature):
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(algorithm))
            return True
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), algorithm)
            return True
    return False


def _hash(algorithm: HashAlgorithm, data: bytes) -> bytes:
    made = Hash(algorithm)
    made.update(data)
    return made.finalize()
