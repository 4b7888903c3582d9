"""The guides: whatever stands for the reader's own is replaced, in every one of them."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from api.dashboard.guides import GUIDES, Guide, Own, filled, guide_html, own_link

FOLDER = Path(__file__).parents[2] / "docs" / "integrations"
TEXTS = {path.stem: path.read_text() for path in FOLDER.glob("*.md")}
OWN = Own("https://pulse.example.com", "ppk_abc", "my-flow", "my-pulse", "my-hook")
STANDS_FOR_OWN = ("localhost:8000", "YOUR_KEY", "YOUR_ID")

PLAIN = Guide("", "")


def names_of(guide: Guide) -> tuple[str, ...]:
    return tuple(name.replace("{", "").replace("}", "") for name in (*guide.workflows, *guide.pulses, *guide.hooks))


def test_there_is_a_page_for_every_file() -> None:
    assert set(GUIDES) == set(TEXTS)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_nothing_is_left_that_stands_for_the_readers_own(name: str) -> None:
    html = guide_html(TEXTS[name], GUIDES[name], OWN)
    assert not [words for words in STANDS_FOR_OWN if words in html]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_name_of_its_examples_is_there_and_is_replaced(name: str) -> None:
    guide = GUIDES[name]
    assert not [example for example in names_of(guide) if example not in TEXTS[name]]
    soup = BeautifulSoup(guide_html(TEXTS[name], guide, OWN), "html.parser")
    code = "\n".join(element.get_text() for element in soup.find_all("code"))
    for kind, mine in ((guide.workflows, "my-flow"), (guide.pulses, "my-pulse"), (guide.hooks, "my-hook")):
        assert not kind or mine in code
    assert not [example for example in names_of(guide) if f"/{example}?" in code or f" {example} " in code]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_all_of_it_is_on_the_page_and_nothing_in_it_runs(name: str) -> None:
    soup = BeautifulSoup(guide_html(TEXTS[name], GUIDES[name], OWN), "html.parser")
    assert not soup.find_all(["script", "style", "iframe", "h1"])
    assert not [tag for tag in soup.find_all(True) if any(key.startswith("on") or key == "style" for key in tag.attrs)]
    assert len(soup.find_all("pre")) == TEXTS[name].count("\n```") // 2
    links = [str(link["href"]) for link in soup.find_all("a")]
    assert all(link.startswith(("/integrations/", "/docs", "https://", "#")) for link in links), links


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        ("curl http://localhost:8000/hbk/x?key=YOUR_KEY", Own("https://p.example"), "curl https://p.example/hbk/x?key=YOUR_KEY"),
        ("key=YOUR_KEY", Own("https://p.example", "ppk_1"), "key=ppk_1"),
        ("--conn-schema http --conn-host localhost:8000", Own("https://p"), "--conn-schema https --conn-host p"),
        ("http://127.0.0.1:8808/mcp", Own("https://p.example"), "http://127.0.0.1:8808/mcp"),
        ("/dhk/YOUR_ID?key=", Own("http://h:1", workflow="w"), "/dhk/w?key="),
        ("/dhk/YOUR_ID?key=", Own("http://h:1"), "/dhk/YOUR_ID?key="),
    ],
)  # fmt: skip
def test_what_is_filled_in(text: str, own: Own, expected: str) -> None:
    assert filled(text, PLAIN, own) == expected


def test_only_whole_names_are_replaced() -> None:
    guide = Guide("", "", workflows=("etl",), pulses=('run("{nightly}"',))
    own = Own("http://h", workflow="mine", pulse="pulse-1")
    assert filled("etl nightly-etl etl_2 etl.", guide, own) == "mine nightly-etl etl_2 mine."
    assert filled('run("nightly", 1) nightly', guide, own) == 'run("pulse-1", 1) nightly'


def test_what_is_filled_in_is_text() -> None:
    own = Own("http://h", workflow='"><script>alert(1)</script>\\1')
    html = guide_html("```\netl\n```\n\n`etl`", Guide("", "", workflows=("etl",)), own)
    assert "<script>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;\\1") == 2


def test_html_in_a_guide_would_be_text() -> None:
    html = guide_html("<b>bold</b> [x](javascript:alert(1))", PLAIN, OWN)
    assert "&lt;b&gt;" in html
    assert "<a" not in html


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("shell.md", "/integrations/shell"),
        ("shell.md#pings", "/integrations/shell#pings"),
        ("../api.md#pulses", "/docs"),
        ("https://example.com/x", "https://example.com/x"),
    ],
)
def test_where_links_lead(link: str, expected: str) -> None:
    assert own_link(link) == expected
