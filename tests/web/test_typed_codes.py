"""What is printed on the act, as people type it in the form of the way in, without a script to help them."""

import re

import make
import pytest

from mespieces.domain import codes


@pytest.fixture
def printed(site):
    """Print a sheet: its reference and its secret, in groups."""
    access, secret = make.issued(site.gateways, make.first(make.filed(site.gateways, blanks=1)))
    return codes.show(access.reference), codes.show(secret)


def _shown(answer):
    """Return what the field of the reference holds."""
    found = re.search(r'<input id="reference"[^>]* value="([^"]*)"', answer.text)
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("in_reference", "in_secret"),
    [
        ("{0}", "Code : {1}"),
        ("Référence : {0} Code d’accès : {1}", ""),
        ("{1}", "{0}"),
        ("Référence : {0}", "{1}"),
    ],
)
def test_both_codes_are_read_whatever_stands_around_and_wherever_they_are_pasted(
    site, printed, in_reference, in_secret
):
    debtor = site.visitor()
    form = {"reference": in_reference.format(*printed), "secret": in_secret.format(*printed)}

    assert debtor.post("/consulter", data=form).location == "/consulter/canal"


def test_a_refused_form_shows_the_reference_in_its_groups_and_what_was_typed_uncut(site, printed):
    reference, debtor = printed[0], site.visitor()
    bare = reference.replace("-", "").lower()
    wrong = codes.show(codes.draw_secret())

    assert _shown(debtor.post("/consulter", 422, data={"reference": bare, "secret": wrong})) == reference
    assert _shown(debtor.post("/consulter", 422, data={"reference": f"Réf. : {bare}", "secret": "x"})) == reference
    assert _shown(debtor.post("/consulter", 422, data={"reference": "", "secret": reference})) == reference
    assert _shown(debtor.post("/consulter", 422, data={"reference": "W08N-0B88-extra", "secret": wrong})) == (
        "W08N-0B88-extra"
    )


def test_a_secret_typed_in_the_other_field_is_not_shown_again(site, printed):
    debtor, secret = site.visitor(), printed[1]
    for typed in (secret, secret.replace("-", ""), f"Code : {secret}", secret[:-1] + "U"):
        refused = debtor.post("/consulter", 422, data={"reference": typed, "secret": "x"})

        assert secret[:11] not in refused.text
        assert secret.replace("-", "")[:11] not in refused.text
        assert _shown(refused) == ""


def test_a_secret_with_a_typing_error_comes_back_in_its_groups_to_be_corrected(site, printed):
    reference, secret = printed
    debtor, bare = site.visitor(), secret.replace("-", "").lower()
    swapped = "0" if bare[7] != "0" else "2"
    wrong = bare[:7] + swapped + bare[8:]
    shown = codes.show(wrong.upper())
    before = make.everything()

    refused = debtor.post("/consulter", 422, data={"reference": reference, "secret": wrong})

    assert f' value="{shown}"' in refused.text
    assert 'id="secret-error"' in refused.text
    assert make.everything() == before
    assert refused.headers["Cache-Control"] == "no-store"
    debtor.post("/consulter", data={"reference": reference, "secret": shown[:8] + secret[8] + shown[9:]})


def test_a_well_formed_secret_never_comes_back(site, printed):
    reference, secret = printed
    bare, other = secret.replace("-", ""), codes.draw_secret()
    tries = [
        {"reference": "W08N-0B88", "secret": secret},  # its reference is mistyped
        {"reference": reference, "secret": codes.show(other)},  # it is another's
        {"reference": reference, "secret": secret + "0"},
        {"reference": reference, "secret": "K" + bare},
        {"reference": reference, "secret": f"{secret} {codes.show(other)}"},
        {"reference": reference, "secret": f"<b>{secret}"},
    ]
    for form in tries:
        refused = site.visitor().post("/consulter", 422, data=form)
        meant = refused.text.replace("-", "")

        assert bare not in meant, form
        assert other not in meant, form
        assert bare[:15] not in meant, form


@pytest.fixture
def bound(site):
    """A debtor whose codes are told by the office, who has just typed what the act says."""
    who = make.first(make.filed(site.gateways, blanks=1))
    make.identified(site.gateways, who, "office")
    access, secret = make.issued(site.gateways, who, "Perdu")
    debtor = site.visitor()
    debtor.post("/consulter", data={"reference": access.reference, "secret": secret})
    debtor.get("/consulter/code")
    return debtor


def test_a_way_chosen_on_a_page_of_before_leads_to_the_code(bound):
    chosen = bound.post("/consulter/canal", data={"channel": "email", "email": "autre@example.fr"})

    assert chosen.location == "/consulter/code"


def test_a_code_typed_before_any_was_given_and_an_incomplete_one_are_told_so(bound):
    assert "Aucun code" in bound.post("/consulter/code", 422, data={"code": "12345678"}).text
    refused = bound.post("/consulter/code", 422, data={"code": "x"})
    assert 'id="code-error"' in refused.text
    assert "Essais restants" not in refused.text
