"""What of the words of others is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cleaning import cleaned, is_deceptive


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay \u202e001\u2066", "pay \ufffd001\ufffd"),
        ("a\r\nb\rc\td", "a\nb\nc    d"),
        ("\x00\x1b[2J\x9b", "\ufffd\ufffd[2J\ufffd"),
        ("שלום 👩\u200d💻 ääö", "שלום 👩\u200d💻 ääö"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert cleaned(text) == shown
    assert is_deceptive(text) == ("\ufffd" in shown)


@given(st.text())
def test_what_was_cleaned_is_clean(text: str) -> None:
    assert cleaned(cleaned(text)) == cleaned(text)
    assert not is_deceptive(cleaned(text))
