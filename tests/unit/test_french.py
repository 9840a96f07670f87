"""Numbers and words that agree, as French has them."""

import pytest

from mespieces.domain import french
from mespieces.verifier.plural import agree


@pytest.mark.parametrize(("count", "said"), [(0, "0 pièce"), (1, "1 pièce"), (2, "2 pièces"), (1200, "1 200 pièces")])
def test_none_and_one_are_singular(count, said):
    assert french.counted(count, "pièce").replace("\u202f", " ").replace("\xa0", " ") == said


def test_words_that_take_more_than_an_s_are_given_whole():
    told = [agree(count, "jeton vérifié", "jetons vérifiés") for count in (0, 1, 2)]
    assert told == ["jeton vérifié", "jeton vérifié", "jetons vérifiés"]
