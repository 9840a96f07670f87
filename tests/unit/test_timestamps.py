"""Certain dates: only what a trusted authority truly says of these bytes is taken."""

import dataclasses
import re

import authority as authorities
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from mespieces.gateways.clock import SystemClock
from mespieces.gateways.timestamps import Authority, AuthorityUnreachable, TokenRefused
from mespieces.verifier import der, timestamp

NOTE = b"pieces.example.fr/journal/x\n1\nroot\n"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    with authorities.serving(authorities.Authority(tmp_path_factory.mktemp("tsa"))) as served:
        yield served


@pytest.fixture
def ask(tsa):
    tsa.behaviour = ""
    reached = Authority(tsa.url, (tsa.root,), within=1.0)
    return lambda at=reached: at.stamp(NOTE, SystemClock())


def test_a_real_authority_dates_a_note_and_openssl_agrees(ask, tsa):
    stamp = ask()
    assert abs((stamp.stated.time - stamp.asked_at).total_seconds()) < 3
    assert (stamp.stated.authority, stamp.stated.policy, stamp.stated.qualified) == ("Horodatage", "1.2.3.4.1", False)
    assert (stamp.stated.accuracy, stamp.drift) == (1.0, 0.0)
    assert tsa.accepts(NOTE, stamp.der)
    assert not tsa.accepts(b"x" + NOTE, stamp.der)


def test_certificates_in_any_order_are_read(ask, tsa):
    stamp = ask()
    (place,) = [(start, end) for tag, start, end in der.signed_data(stamp.der) if tag == 0xA0]
    held = [stamp.der[at:stop] for _, at, _, stop in der.members(stamp.der, *place)]
    assert len(held) == 3
    for order in (sorted(held), sorted(held, reverse=True)):
        token = stamp.der[: place[0]] + b"".join(order) + stamp.der[place[1] :]
        assert timestamp.verify(NOTE, token, [tsa.root]).serial == stamp.stated.serial


@pytest.mark.parametrize("behaviour", ["down", "slow", "slow headers"])
def test_an_authority_that_does_not_answer_in_time_is_said_to_be_out_of_reach(ask, tsa, behaviour):
    tsa.behaviour = behaviour
    with pytest.raises(AuthorityUnreachable):
        ask()


def test_nobody_listening_is_an_authority_out_of_reach(tsa, ask):
    with pytest.raises(AuthorityUnreachable, match=re.escape("ne répond pas (connexion refusée)")):
        ask(Authority("http://127.0.0.1:1/", (tsa.root,)))
    with pytest.raises(AuthorityUnreachable, match=re.escape("ne répond pas (adresse inconnue)")):
        ask(Authority("http://nobody.invalid/", (tsa.root,)))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("garbage", "n’est pas un jeton"),
        ("too large", "trop grande"),
        ("rejection", "pas accordé"),
        ("other imprint", "date autre chose"),
        ("over other bytes", "répond à une autre demande"),
        (f"over {NOTE.decode()}", "répond à une autre demande"),
    ],
)
def test_an_answer_that_dates_nothing_is_refused(ask, tsa, behaviour, reason):
    tsa.behaviour = behaviour
    with pytest.raises(TokenRefused, match=reason):
        ask()


def test_a_token_of_other_bytes_is_refused(ask, tsa):
    with pytest.raises(timestamp.TokenRefused, match="date autre chose"):
        timestamp.verify(b"other", ask().der, [tsa.root])


def test_a_token_under_another_policy_is_refused(ask, tsa):
    token = ask().der
    assert timestamp.verify(NOTE, token, [tsa.root], policies=("1.2.3.4.2", "1.2.3.4.1"))
    with pytest.raises(timestamp.TokenRefused, match=r"politique 1\.2\.3\.4\.1"):
        timestamp.verify(NOTE, token, [tsa.root], policies=("1.2.3.4.2",))
    with pytest.raises(TokenRefused, match=r"politique 1\.2\.3\.4\.1"):
        ask(Authority(tsa.url, (tsa.root,), policies=("1.2.3.4.2",)))


@pytest.mark.parametrize("naming", ["sha1", "sha256", "sha384", "sha512"])
def test_a_token_names_the_certificate_of_its_signature_by_its_hash(tmp_path, naming):
    """A longer-lived certificate of the same key, name and number cannot take the place of the one that was signed over."""
    made = authorities.Authority(tmp_path, naming=naming)
    token, twin = made.reply(made.query(NOTE)), made.twin()
    stated = timestamp.verify(NOTE, token, [made.root])
    held, other = (one.public_bytes(timestamp.Encoding.DER) for one in (made.signer, twin))
    assert (stated.authority, len(held), token.count(held)) == ("Horodatage", len(other), 1)

    with pytest.raises(timestamp.TokenRefused, match="ne nomme pas le certificat"):
        timestamp.verify(NOTE, token.replace(held, other), [made.root])


def test_of_several_roots_of_one_name_the_right_one_is_always_found(ask, tsa, tmp_path):
    stamp, renewed = ask(), authorities.Authority(tmp_path).root
    assert renewed.subject == tsa.root.subject
    for roots in ([tsa.root, renewed], [renewed, tsa.root]) * 8:
        assert timestamp.verify(NOTE, stamp.der, roots).serial == stamp.stated.serial
    with pytest.raises(timestamp.TokenRefused):
        timestamp.verify(NOTE, stamp.der, [renewed])


def test_a_root_that_only_the_token_carries_is_not_trusted(ask, tsa, tmp_path):
    rogue = authorities.Authority(tmp_path)
    token = rogue.reply(rogue.query(NOTE))
    assert rogue.accepts(NOTE, token)
    with pytest.raises(timestamp.TokenRefused):
        timestamp.verify(NOTE, token, [tsa.root])


def test_a_token_is_another_authority_s_only_when_all_but_the_root_is_right(ask, tsa, tmp_path):
    other = authorities.Authority(tmp_path / "other", name="Autre")
    expired = authorities.Authority(tmp_path / "expired", name="Tiers", ends=-authorities.timedelta(hours=1))
    under_expired = expired.reply(expired.query(NOTE))
    token = ask().der
    wrong = [(NOTE, under_expired), (b"other", token), (NOTE, token[:-1] + bytes([token[-1] ^ 1]))]
    # A certificate on the way that did not sign the one below it, though it bears the name.
    alike = authorities.Authority(tmp_path / "alike", name="Autre")
    (other.folder / "chain.pem").write_bytes((alike.folder / "chain.pem").read_bytes())
    wrong.append((NOTE, other.reply(other.query(NOTE))))

    with pytest.raises(timestamp.AnotherAuthority):
        timestamp.verify(NOTE, ask().der, [other.root])
    third = authorities.Authority(tmp_path / "third", name="Encore").root
    for data, token in wrong:
        with pytest.raises(timestamp.TokenRefused) as refused:
            timestamp.verify(data, token, [third])
        assert type(refused.value) is timestamp.TokenRefused


def test_a_token_signed_with_an_elliptic_curve_is_another_authority_s_too(tmp_path, tsa):
    curved = authorities.Authority(tmp_path, name="Courbe", kind="ec")
    token = curved.reply(curved.query(NOTE))
    assert timestamp.verify(NOTE, token, [curved.root]).authority == "Courbe"

    with pytest.raises(timestamp.AnotherAuthority):
        timestamp.verify(NOTE, token, [tsa.root])
    with pytest.raises(timestamp.TokenRefused) as refused:
        timestamp.verify(NOTE, token[:-1] + bytes([token[-1] ^ 1]), [tsa.root])
    assert type(refused.value) is timestamp.TokenRefused


@pytest.mark.parametrize("flaw", [{"ends": -authorities.timedelta(hours=1)}])
def test_a_certificate_expired_at_the_token_s_time_is_refused(tmp_path, flaw):
    expired = authorities.Authority(tmp_path, **flaw)
    with pytest.raises(timestamp.TokenRefused):
        timestamp.verify(NOTE, expired.reply(expired.query(NOTE)), [expired.root])


def test_a_token_changed_anywhere_is_refused_or_says_the_same(ask, tsa):
    stamp = ask()
    for at in range(0, len(stamp.der), 17):
        changed = bytearray(stamp.der)
        changed[at] ^= 1
        try:
            assert timestamp.verify(NOTE, bytes(changed), [tsa.root])._replace(authority="") == stamp.stated._replace(
                authority=""
            )
        except timestamp.TokenRefused:
            continue


def test_a_token_changed_anywhere_is_refused_under_another_root_too_as_what_it_is_or_as_another_s(ask, tmp_path):
    """What a signature covers is then still verified; what is told of the rest proves nothing."""
    stamp, other = ask(), authorities.Authority(tmp_path, name="Autre")
    with pytest.raises(timestamp.AnotherAuthority):
        timestamp.verify(NOTE, stamp.der, [other.root])
    stated = timestamp.read(NOTE, stamp.der)._replace(authority="")
    for at in range(0, len(stamp.der), 3):
        changed = bytearray(stamp.der)
        changed[at] ^= 1 << at % 8
        with pytest.raises(timestamp.TokenRefused) as refused:
            timestamp.verify(NOTE, bytes(changed), [other.root])
        if isinstance(refused.value, timestamp.AnotherAuthority):
            assert timestamp.read(NOTE, bytes(changed))._replace(authority="") == stated


def test_the_drift_is_what_the_bracket_cannot_explain(ask):
    stamp = ask()
    late = authorities.timedelta(seconds=90)
    ahead = dataclasses.replace(stamp, asked_at=stamp.asked_at + late, answered_at=stamp.answered_at + late)
    behind = dataclasses.replace(stamp, asked_at=stamp.asked_at - late, answered_at=stamp.answered_at - late)
    assert 85 < ahead.drift < 91
    assert -91 < behind.drift < -85


FLAWS = pytest.mark.parametrize(
    "flaw",
    [
        {"uses": ()},
        {"uses": (ExtendedKeyUsageOID.CODE_SIGNING,)},
        {"uses": (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)},
        {"uses": authorities.STAMPING, "critical": False},
    ],
    ids=["none", "another", "two", "not critical"],
)


@FLAWS
def test_a_token_signed_under_a_certificate_that_serves_something_else_is_refused(tsa, ask, flaw):
    query = tsa.query(NOTE)
    assert timestamp.verify(NOTE, tsa.reply_under(tsa.twin(), query), [tsa.root]).authority == "Horodatage"

    with pytest.raises(timestamp.TokenRefused):
        timestamp.verify(NOTE, tsa.reply_under(tsa.twin(**flaw), query), [tsa.root])


@FLAWS
def test_a_certificate_that_serves_something_else_is_refused(flaw):
    certificate = authorities._sign("x", _KEY, "x", _KEY, **flaw)
    with pytest.raises((timestamp.TokenRefused, timestamp.x509.ExtensionNotFound)):
        timestamp._check_use(certificate)


_KEY = authorities.rsa.generate_private_key(65537, 2048)


def test_what_a_token_states_is_read_without_its_roots_and_of_its_own_bytes_alone(tsa, ask):
    stamp = ask()

    assert timestamp.read(NOTE, stamp.der) == stamp.stated._replace(root="")
    with pytest.raises(timestamp.TokenRefused, match="date autre chose"):
        timestamp.read(b"other", stamp.der)
    for garbage in (b"", b"garbage", stamp.der[:-1], bytes.fromhex("30053003020102")):
        with pytest.raises(timestamp.TokenRefused):
            timestamp.read(NOTE, garbage)
