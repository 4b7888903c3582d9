"""What people see of a text."""

import pytest

from domain.words import is_line, is_visible, look_of

FAMILY = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}"


@pytest.mark.parametrize("text", ["a", " a ", "?", "\u200ba", "日本", FAMILY, "e\u0301", "\n-\n"])
def test_there_is_something_to_see(text: str) -> None:
    assert is_visible(text)


@pytest.mark.parametrize(
    "text", ["", "   ", "\u200b", "\n\t", "\xa0\u3000", "\u2060\ufeff", "\u3164", "\u2800", "\u0301", "\x1b", "\u202e"]
)
def test_there_is_nothing_to_see(text: str) -> None:
    assert not is_visible(text)
    assert not is_line(text)


@pytest.mark.parametrize("text", ["a", "Grün & <b>", "a  b", FAMILY, "می\u200cخواهم", "1\xa0kg"])
def test_what_can_be_read_in_one_line(text: str) -> None:
    assert is_line(text)


@pytest.mark.parametrize(
    "text", ["a\nb", "a\n", "a\rb", "a\u2028b", "a\tb", "a\x00", "a\x1b[2J", "a\u202eb", "\u2066a"]
)
def test_what_cannot(text: str) -> None:
    assert not is_line(text)


@pytest.mark.parametrize("text", ["deny", "DENY", " deny", "d\u200beny", "ｄｅｎｙ", "deny\u3164", "de\xadny"])
def test_texts_that_look_alike(text: str) -> None:
    assert look_of(text) == "deny"


def test_texts_that_do_not() -> None:
    assert len({look_of(text) for text in ("a", "b", "ä", "a b", "ab", "1", "1.")}) == 7
