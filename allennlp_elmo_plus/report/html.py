"""The frame of a page: its head, colours and styles, sections, cards and tables. All pages of this package look alike."""

from collections.abc import Iterable, Sequence
from html import escape

NUM_COLOURS = 6
_LIGHT = ("#0b62a8", "#d1495b", "#2f7d4f", "#8a5a00", "#6d4bab", "#4a5560")
_DARK = ("#6cb4ee", "#f08a97", "#7fd1a0", "#e0b25a", "#b79df0", "#aab4bf")

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --card: #f6f7f9; --text: #1b1f24; --soft: #5b6570; --line: #dfe3e8; %s }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171b; --card: #1d2127; --text: #e7eaee; --soft: #9aa4af; --line: #323942; %s }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; } h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.tiles, .charts, .stack { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); margin-top: 1rem; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; margin: 0; min-width: 0; }
.tiles b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } .wide td { min-width: 5rem; overflow-wrap: anywhere; } .wide th { min-width: 6.5rem; }
table { border-collapse: collapse; width: 100%%; font-size: .9rem; } td, th { text-align: left; vertical-align: top;
  padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); } tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; } tbody th { font-weight: 400; color: var(--soft); } .number { font-variant-numeric: tabular-nums; }
mark { background: none; color: inherit; font-weight: 700; text-decoration: underline; }
pre { overflow-x: auto; font: .85rem/1.45 ui-monospace, monospace; margin: .5rem 0 0; } summary { cursor: pointer; }
"""


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """Return a complete page. Its Content-Security-Policy forbids scripts and everything from other places.

    Args:
        title: the title, as text.
        style: CSS of this page, after the CSS that all pages have.
        parts: the HTML of the body; empty parts are left out.
    """
    content = "\n".join(filter(None, parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_common_style()}{style}</style></head><body>\n{content}\n</body></html>\n"
    )


def section(heading: str, css_class: str, parts: Iterable[str]) -> str:
    """Return `parts` under `heading`, in a block of `css_class`; nothing where all parts are empty."""
    content = "".join(parts)
    return f'<h2>{escape(heading)}</h2><div class="{css_class}">{content}</div>' if content else ""


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a table of text, which scrolls sideways where it is too wide.

    Args:
        head: the names of the columns after the first, or nothing.
        rows: the name of each row and its cells.
    """
    top = f"<thead><tr><th></th>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>' if body else ""


def marked(sentence: Sequence[str], position: int) -> str:
    """Return the words of `sentence`, the one at `position` marked."""
    words = [escape(word) for word in sentence]
    words[position] = f"<mark>{words[position]}</mark>"
    return " ".join(words)


def _common_style() -> str:
    def palette(colours: Sequence[str]) -> str:
        return " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))

    classes = "".join(
        f".c{number} {{ fill: var(--c{number}); background: var(--c{number}); }}\n" for number in range(NUM_COLOURS)
    )
    return _STYLE % (palette(_LIGHT), palette(_DARK)) + classes
