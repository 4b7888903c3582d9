"""What mails to people are made of: blocks, each of which is written as plain text and as HTML.

The HTML is for mail programs, which understand little: tables that only lay out, styles at each element, and classes
for those that know dark colours. All words are escaped; none of them is markup.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from domain.cleaning import cleaned

GREEN: Final = "#15803d"
RED: Final = "#b91c1c"
BLUE: Final = "#1d4ed8"

_FONT: Final = "font-family:system-ui,-apple-system,'Segoe UI',Arial,sans-serif"
_MONO: Final = "font-family:ui-monospace,Consolas,Menlo,monospace"
_DARK: Final = """\
@media (prefers-color-scheme: dark) {
  .page { background: #111827 !important; }
  .card { background: #1f2937 !important; }
  .words { color: #f3f4f6 !important; }
  .aside { color: #cbd5e1 !important; }
  .quote { background: #111827 !important; color: #f3f4f6 !important; }
}"""
_BLANKS: Final = re.compile("^ +| +(?= )", re.MULTILINE)


class Block(ABC):
    @abstractmethod
    def plain(self) -> str: ...

    @abstractmethod
    def html(self) -> str: ...


@dataclass(frozen=True)
class Paragraph(Block):
    text: str

    def plain(self) -> str:
        return cleaned(self.text)

    def html(self) -> str:
        return f'<p class="words" style="margin:0 0 14px;{_FONT};font-size:16px;color:#1f2933">{_words(self.text)}</p>'


@dataclass(frozen=True)
class Aside(Block):
    """A paragraph that explains."""

    text: str

    def plain(self) -> str:
        return cleaned(self.text)

    def html(self) -> str:
        return f'<p class="aside" style="margin:0 0 10px;{_FONT};font-size:14px;color:#52606d">{_words(self.text)}</p>'


@dataclass(frozen=True)
class Heading(Block):
    text: str

    def plain(self) -> str:
        return cleaned(self.text)

    def html(self) -> str:
        style = f"margin:0 0 14px;{_FONT};font-size:20px;line-height:1.3;color:#1f2933"
        return f'<h1 class="words" style="{style}">{_words(self.text)}</h1>'


@dataclass(frozen=True)
class Quote(Block):
    """Somebody's words in full, with their line breaks; `is_code` keeps its columns, too."""

    text: str
    is_code: bool = False

    def plain(self) -> str:
        return "\n".join(f"  {line}".rstrip() for line in cleaned(self.text).split("\n"))

    def html(self) -> str:
        style = "padding:12px 14px;background:#f4f5f7;border-left:4px solid #9aa5b1;font-size:15px;color:#1f2933"
        if self.is_code:
            words = f'<pre style="margin:0;{_MONO};font-size:13px;white-space:pre-wrap;word-break:break-word">'
            words += f"{escape(cleaned(self.text))}</pre>"
        else:
            words = _words(self.text)
        return _table(
            f'<td class="quote" style="{_FONT};{style};word-break:break-word">{words}</td>', "margin:0 0 16px"
        )


@dataclass(frozen=True)
class Facts(Block):
    """What is what, a line each."""

    facts: Sequence[tuple[str, str]]

    def plain(self) -> str:
        return "\n".join(f"{name}: {cleaned(value)}" for name, value in self.facts)

    def html(self) -> str:
        lines = "<br>".join(f"<strong>{escape(name)}:</strong> {_words(value)}" for name, value in self.facts)
        style = f"margin:0 0 14px;{_FONT};font-size:15px;line-height:1.6;color:#1f2933"
        return f'<p class="words" style="{style}">{lines}</p>'


@dataclass(frozen=True)
class Button:
    """A link. `about` says to those who do not see what it stands beside what it is about."""

    text: str
    about: str
    url: str
    color: str = BLUE


@dataclass(frozen=True)
class Buttons(Block):
    buttons: Sequence[Button]

    def plain(self) -> str:
        return "\n\n".join(f"{button.text}:\n{button.url}" for button in self.buttons)

    def html(self) -> str:
        return _table('<td width="12"></td>'.join(map(_button, self.buttons)), "margin:4px 0 16px", width="")


@dataclass(frozen=True)
class Code(Block):
    """Something to type."""

    text: str

    def plain(self) -> str:
        return f"    {self.text}"

    def html(self) -> str:
        style = f"margin:0 0 16px;{_MONO};font-size:30px;letter-spacing:4px;font-weight:bold;color:#1f2933"
        return f'<p class="words" style="{style}">{escape(self.text)}</p>'


def as_plain(blocks: Sequence[Block], base_url: str) -> str:
    return "\n\n".join([*(block.plain() for block in blocks), f"-- \nPingPulse, {base_url}\n"])


def as_html(subject: str, blocks: Sequence[Block], base_url: str) -> str:
    body = "\n".join(block.html() for block in blocks)
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{escape(cleaned(subject))}</title>
<style>
{_DARK}
</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f4f5f7">
<table role="presentation" class="page" width="100%" cellpadding="0" cellspacing="0" border="0" \
style="background:#f4f5f7">
<tr><td align="center" style="padding:24px 12px">
<table role="presentation" width="600" cellpadding="0" cellspacing="0" border="0" style="width:100%;max-width:600px">
<tr><td class="card" style="padding:24px;background:#ffffff;border-radius:6px;line-height:1.5">
{body}
</td></tr>
<tr><td class="aside" style="padding:12px 24px;{_FONT};font-size:13px;color:#52606d">
<a class="aside" href="{escape(base_url)}" style="color:#52606d">PingPulse</a>
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"""


def _words(text: str) -> str:
    """Outlook keeps neither line breaks nor blanks by a style."""
    kept = _BLANKS.sub(lambda blanks: "\xa0" * len(blanks[0]), cleaned(text))
    return escape(kept).replace("\n", "<br>\n")


def _button(button: Button) -> str:
    label = escape(cleaned(f"{button.text}: {button.about}"))
    style = f"display:inline-block;{_FONT};font-size:16px;font-weight:bold;color:#ffffff;text-decoration:none"
    return (
        f'<td bgcolor="{button.color}" style="padding:12px 24px;border-radius:6px">'
        f'<a href="{escape(button.url)}" aria-label="{label}" style="{style}">{escape(button.text)}</a></td>'
    )


def _table(cells: str, style: str, width: str = ' width="100%"') -> str:
    return (
        f'<table role="presentation"{width} cellpadding="0" cellspacing="0" border="0" style="{style}">'
        f"<tr>{cells}</tr></table>"
    )
