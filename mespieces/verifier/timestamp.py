"""RFC 3161: whether a token truly dates some bytes, told from the bytes, the token and the roots alone."""

import hashlib
import ssl
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
from rfc3161_client.tsp import Accuracy, TimeStampResponse

from mespieces.verifier import der, record, signed
from mespieces.verifier.faults import Fault

LARGEST = 64 * 1024
_QUALIFIED = bytes.fromhex("06060400975e0101")
"""0.4.0.19422.1.1, esi4-qtstStatement-1 (ETSI EN 319 422 §9.1): the token claims to be a qualified one."""
_SEQUENCE, _SET, _FIRST, _SECOND = 0x30, 0x31, 0xA0, 0xA1
_NAMING = {
    bytes.fromhex("2a864886f70d010910020c"): "sha1",  # signing-certificate, RFC 2634 §5.4
    bytes.fromhex("2a864886f70d010910022f"): "sha256",  # signing-certificate-v2, RFC 5035 §3
}
_HASHES = {
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}


_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


class TokenRefused(Fault):
    """A token that does not date these bytes, or that no trusted authority has signed; `str()` is why, in French."""


class AnotherAuthority(TokenRefused):
    """A token that is right in all but this: its authority is none for which a given root vouches."""


_MALFORMED = (
    VerificationError,
    ValueError,  # TokenRefused is one
    TypeError,
    OverflowError,
    StopIteration,
    LookupError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Stated(NamedTuple):
    """What a verified token states. `qualified` is the authority's claim: the EU trusted list alone proves it."""

    time: datetime
    accuracy: float | None
    serial: int
    policy: str
    authority: str
    qualified: bool
    root: str = ""
    """Who vouches for the authority, by name and key: two authorities of one root are one source. Empty where unverified."""

    @property
    def latest(self) -> datetime:
        """When it was stated at the latest: an authority's clock, and what it writes of it, are only so accurate."""
        return self.time + timedelta(seconds=self.accuracy or 0)


def read_roots(pem: bytes) -> list[x509.Certificate]:
    """Return the roots of a PEM file. Raises `TokenRefused` when it holds none, or a certificate that is no root."""
    try:
        roots = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TokenRefused("le fichier des racines ne contient aucun certificat PEM lisible") from error
    for root in roots:
        if root.issuer != root.subject:
            raise TokenRefused(f"« {root.subject.rfc4514_string()} » n’est pas un certificat racine")
    return roots


def verify(
    data: bytes,
    token: bytes,
    roots: Sequence[x509.Certificate],
    *,
    nonce: int | None = None,
    policies: Collection[str] = (),
) -> Stated:
    """Return what `token` states of `data`, under one of `policies` when any is named. Raises `TokenRefused`.

    `AnotherAuthority` when all is well but that none of `roots` vouches for who signed it.
    Only `roots` are trusted: what the token carries helps to build the chain, at the token's own time (RFC 3161 §2.3).
    """
    response = _decode(token)
    if response.status != 0:
        raise TokenRefused("l’autorité n’a pas accordé le jeton")
    try:
        try:
            root = _check_chain(response, hashlib.sha256(data).digest(), roots, nonce)
        except VerificationError as error:
            if _is_another_s(data, token, response, roots):
                raise AnotherAuthority("aucune des racines n’est celle de l’autorité qui l’a signé") from error
            raise
        signer = _signer(response)
        _check_use(signer)
        _check_named(token, signer)
        stated = _stated(response, signer, token)._replace(root=_identity(root))
    except _MALFORMED as error:
        if isinstance(error, TokenRefused):
            raise
        raise TokenRefused(_in_words(error)) from error
    if policies and stated.policy not in policies:
        raise TokenRefused(f"la politique {stated.policy} n’est pas de celles qui sont acceptées")
    return stated


def read(data: bytes, token: bytes) -> Stated:
    """Return what `token` says of `data`, whose hash it holds; who signed it is not verified. Raises `TokenRefused`."""
    response = _decode(token)
    try:
        imprint = response.tst_info.message_imprint
        if imprint.hash_algorithm != _SHA256 or imprint.message != hashlib.sha256(data).digest():
            raise TokenRefused("le jeton date autre chose")
        return _stated(response, _signer(response), token)
    except _MALFORMED as error:
        if isinstance(error, TokenRefused):
            raise
        raise TokenRefused(_in_words(error)) from error


def _identity(root: x509.Certificate) -> str:
    """Return what tells one source from another: the root's name and key, which a renewed certificate keeps."""
    key = root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(root.subject.public_bytes() + key).hexdigest()


def _check_chain(
    response: TimeStampResponse, digest: bytes, roots: Sequence[x509.Certificate], nonce: int | None
) -> x509.Certificate:
    """Return the one of `roots` that vouches for the response. Raises `VerificationError`.

    Each is tried alone: of several of one name, as when an authority renews its root, the library follows any one.
    """
    failure = VerificationError("aucune racine n’est donnée")
    for root in roots:
        # Given no intermediate: the library would trust a self-signed one. Those inside the token suffice.
        builder = VerifierBuilder(roots=[root])
        try:
            (builder if nonce is None else builder.nonce(nonce)).build().verify(response, digest)
        except VerificationError as error:
            failure = error
        else:
            return root
    raise failure


def _is_another_s(data: bytes, token: bytes, response: TimeStampResponse, roots: Sequence[x509.Certificate]) -> bool:
    """Tell whether a token that was refused only lacks its root among `roots`."""
    with suppress(*_MALFORMED):
        read(data, token)
        signer = _signer(response)
        _check_use(signer)
        _check_named(token, signer)
        carried = list(map(x509.load_der_x509_certificate, response.signed_data.certificates))
        return signed.by_another(token, response.tst_info.gen_time, signer, carried, roots)
    return False


def certificates(tokens: Iterable[bytes]) -> bytes:
    """Return the certificates that these tokens carry, each once, in PEM: for whoever verifies with other programs.

    What is no token carries none.
    """
    carried: dict[bytes, None] = {}
    for token in tokens:
        with suppress(TokenRefused):
            carried |= dict.fromkeys(sorted(_decode(token).signed_data.certificates))
    return "".join(map(ssl.DER_cert_to_PEM_cert, carried)).encode()


def _decode(token: bytes) -> TimeStampResponse:
    if len(token) > LARGEST:
        raise TokenRefused("la réponse est trop grande")
    try:
        return decode_timestamp_response(_sorted(token))
    except (ValueError, IndexError) as error:
        raise TokenRefused("la réponse n’est pas un jeton d’horodatage") from error


def _signer(response: TimeStampResponse) -> x509.Certificate:
    """Return the certificate the signature names: issuer and serial number are covered by it."""
    (info,) = response.signed_data.signer_infos
    held = map(x509.load_der_x509_certificate, response.signed_data.certificates)
    return next(one for one in held if (one.issuer, one.serial_number) == (info.issuer, info.serial_number))


def _check_use(signer: x509.Certificate) -> None:
    """Make sure that the certificate serves time-stamping alone, and says so critically (RFC 3161 §2.3)."""
    use = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if not use.critical or list(use.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TokenRefused("le certificat de l’autorité ne sert pas qu’à l’horodatage")


def _check_named(token: bytes, signer: x509.Certificate) -> None:
    """Make sure that what was signed names this certificate, by its hash (RFC 3161 §2.4.2, RFC 5816 §2.2).

    Issuer and serial number alone would let another certificate of the same key, with other dates, take its place.
    """
    named = _named(token)
    whole = signer.public_bytes(Encoding.DER)
    if not named or any(hashlib.new(algorithm, whole).digest() != digest for algorithm, digest in named):
        raise TokenRefused("le jeton ne nomme pas le certificat qui l’accompagne")


def _named(token: bytes) -> list[tuple[str, bytes]]:
    """Return the hash of the signer's certificate that each attribute `signing-certificate` (v1, v2) gives."""
    found = []
    *_, signers = [(start, end) for tag, start, end in der.signed_data(token) if tag == _SET]
    ((_, *signer),) = der.inside(token, *signers)
    (attributes,) = [(start, end) for tag, start, end in der.inside(token, *signer) if tag == _FIRST]
    for _, start, end in der.inside(token, *attributes):
        (_, *kind), (_, *values) = der.inside(token, start, end)
        if (algorithm := _NAMING.get(token[slice(*kind)])) is not None:
            ((_, *value),) = der.inside(token, *values)
            certificates = der.inside(token, *value)[0]
            first = der.inside(token, *der.inside(token, *certificates[1:])[0][1:])
            if first[0][0] == _SEQUENCE:  # an algorithm; without one it is the version's own
                oid = der.inside(token, *first.pop(0)[1:])[0]
                algorithm = _HASHES[token[oid[1] : oid[2]]]
            found.append((algorithm, token[first[0][1] : first[0][2]]))
    return found


def _stated(response: TimeStampResponse, signer: x509.Certificate, token: bytes) -> Stated:
    info = response.tst_info
    names = signer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    stated = Stated(
        time=info.gen_time.replace(tzinfo=info.gen_time.tzinfo or UTC).astimezone(UTC),
        accuracy=_seconds(info.accuracy),
        serial=info.serial_number,
        policy=info.policy.dotted_string,
        authority=str(names[0].value) if names else signer.subject.rfc4514_string(),
        qualified=_claims_qualified(token),
    )
    record.format_time(stated.latest)  # no time at all, when its accuracy is of centuries: `OverflowError`
    return stated


def written(time: datetime) -> str:
    """Write a token's time in UTC with the digits it has: most have no fraction of a second."""
    whole, _, fraction = f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}".partition(".")
    return f"{whole}.{fraction.rstrip('0')}".rstrip(".") + "Z"


def _in_words(error: Exception) -> str:
    """Return why a token is refused; what is rare is left as the library says it, for whoever looks it up."""
    known = _REASONS.get(str(error).rstrip("."))
    return known or f"le jeton n’est pas valable (« {error} »)"


def _seconds(accuracy: Accuracy | None) -> float | None:
    if accuracy is None:
        return None
    return (accuracy.seconds or 0) + (accuracy.millis or 0) / 1e3 + (accuracy.micros or 0) / 1e6


# The library shows no extension, and refuses a set whose members are not in order.


def _sorted(token: bytes) -> bytes:
    """Return the token with its certificates in DER's order: OpenSSL's authority sends them otherwise; none is signed over."""
    for tag, start, end in der.signed_data(token):
        if tag == _FIRST:
            members = sorted(token[at:stop] for _, at, _, stop in der.members(token, start, end))
            return token[:start] + b"".join(members) + token[end:]
    return token


def _claims_qualified(token: bytes) -> bool:
    content = next((start, end) for tag, start, end in der.signed_data(token) if tag == _SEQUENCE)
    _, explicit = der.inside(token, *content)[:2]
    octets = der.inside(token, *explicit[1:])[0]
    whole = der.inside(token, *octets[1:])[0]
    # TSTInfo's extensions are its last member, [1].
    last = der.inside(token, *whole[1:])[-1]
    return last[0] == _SECOND and _QUALIFIED in token[last[1] : last[2]]


_REASONS = {
    "Nonce mismatch": "le jeton répond à une autre demande",
    "Mismatch between messages": "le jeton date autre chose",
    "The EKU extension is not critical": "le certificat de l’autorité ne sert pas qu’à l’horodatage",
    "The certificate does not contain the critical EKU extension": "le certificat de l’autorité ne sert pas à l’horodatage",
    "The EKU extension does not have KeyPurposeID id-kp-timeStamping": "le certificat de l’autorité ne sert pas à l’horodatage",
}
