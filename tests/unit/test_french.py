"""Numbers and words that agree, as French has them."""

import re
from pathlib import Path

import pytest

import mespieces
from mespieces.domain import french
from mespieces.verifier.plural import agree


@pytest.mark.parametrize(("count", "said"), [(0, "0 pièce"), (1, "1 pièce"), (2, "2 pièces"), (1200, "1 200 pièces")])
def test_none_and_one_are_singular(count, said):
    assert french.counted(count, "pièce").replace("\u202f", " ").replace("\xa0", " ") == said


def test_words_that_take_more_than_an_s_are_given_whole():
    told = [agree(count, "jeton vérifié", "jetons vérifiés") for count in (0, 1, 2)]
    assert told == ["jeton vérifié", "jeton vérifié", "jetons vérifiés"]


TEMPLATES = Path(mespieces.__file__).with_name("templates")
CODE = re.compile(r"{#.*?#}|{%.*?%}|{{.*?}}|<pre.*?</pre>|<[^>]*>", re.DOTALL)


@pytest.mark.parametrize(
    "template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES))
)
def test_no_line_of_a_page_begins_with_a_mark_that_ends_a_sentence(template):
    text = CODE.sub("\0", template.read_text("utf-8"))

    assert re.findall(r"[^\n]{0,30} [:;?!»](?![^\s\0])|« ", text) == []
