"""Write the HTML of a page about the usages of words in two corpora."""

from collections.abc import Iterable, Sequence
from html import escape

from allennlp_elmo_plus.errors import count_in_words
from allennlp_elmo_plus.inference.neighbors import TokenInContext
from allennlp_elmo_plus.report.html import document, marked, section
from allennlp_elmo_plus.usages.comparison import Cluster, WordComparison

_STYLE = """
a { color: var(--c0); } h2 { scroll-margin-top: 1rem; } .legend i { display: inline-block; width: 1rem; height: .7rem; border-radius: 2px; }
.bars { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .6rem; align-items: center; font-size: .9rem;
  margin-bottom: .5rem; }
.bar { display: flex; align-items: center; gap: .4rem; } .bar i { height: .9rem; border-radius: 2px; flex: none; }
.example { border-left: 3px solid; padding-left: .6rem; margin: .4rem 0; } .first { border-color: var(--c0); }
.second { border-color: var(--c1); } .words tr > * { min-width: 0; padding-right: .5rem; }
"""
# Of the width of a card, the rest is for the number behind the bar.
_BAR_PERCENT = 60
# Of a long sentence, this many words are shown before and after the word.
_SHOWN_WORDS = 20
_NAMES = ("A", "B")


def usages_page(comparisons: Sequence[WordComparison], model: str, corpora: tuple[str, str]) -> str:
    """Return the HTML of `comparisons`. All text is escaped, and the page runs no script.

    Args:
        comparisons: the results of the words.
        model: the name of the biLM.
        corpora: the names of the corpora A and B.
    """
    title = f"Usages of {count_in_words(len(comparisons), 'word')}"
    legend = "<br>".join(
        f'<i class="c{number}"></i> {name}: {escape(corpus)}'
        for number, (name, corpus) in enumerate(zip(_NAMES, corpora))
    )
    parts = [
        f'<h1>{title}</h1><p class="soft">{escape(model)}</p><p class="legend">{legend}</p>',
        section("Words", "card", [_overview(comparisons)]),
        '<p class="soft">Occurrences that were compared, and distances of the usages in A from those in B. APD: mean distance of two '
        "usages. PRT: distance of the mean usages. JSD: difference of the clusters' shares, from 0 to 1 bit.</p>",
        *map(_word, range(len(comparisons)), comparisons),
    ]
    return document(title, _STYLE, parts)


def _overview(comparisons: Sequence[WordComparison]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", *_NAMES, "APD", "PRT", "JSD"))
    rows = []
    for number, (word, _, num_used, difference) in enumerate(comparisons):
        name = escape(word)
        measures = ["", "", ""]
        if difference is not None:
            name = f'<a href="#word{number}">{name}</a>'
            measures = [f"{value:.3f}" for value in (difference.apd, difference.prt, difference.jsd)]
        cells = "".join(f'<td class="number">{cell}</td>' for cell in (*num_used, *measures))
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    return f'<div class="wide words"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _word(number: int, comparison: WordComparison) -> str:
    word, num_found, num_used, difference = comparison
    if difference is None:
        return ""
    found = ", ".join(
        f"{name}: {used:,} of {count_in_words(found, 'occurrence')}"
        for name, used, found in zip(_NAMES, num_used, num_found)
    )
    cards = "".join(_cluster(place, cluster, num_used) for place, cluster in enumerate(difference.clusters, 1))
    return f'<h2 id="word{number}">{escape(word)}</h2><p class="soft">{found}</p><div class="charts">{cards}</div>'


def _cluster(place: int, cluster: Cluster, num_used: tuple[int, int]) -> str:
    substitutes = ""
    if cluster.substitutes:
        substitutes = f'<p><span class="soft">Words that fit:</span> {escape(" · ".join(cluster.substitutes))}</p>'
    examples = "".join(
        f'<p class="example {side}">{_excerpt(token)}</p>'
        for side, tokens in zip(("first", "second"), cluster.examples)
        for token in tokens
    )
    return (
        f'<div class="card"><h3>Cluster {place}</h3><div class="bars">{_bars(cluster.counts, num_used)}</div>'
        f"{substitutes}{examples}</div>"
    )


def _bars(counts: Iterable[int], num_used: Iterable[int]) -> str:
    bars = []
    for number, (count, total) in enumerate(zip(counts, num_used)):
        share = count / total
        bars.append(
            f'<span>{_NAMES[number]}</span><span class="bar"><i class="c{number}" style="width: {_BAR_PERCENT * share:.1f}%"></i>'
            f'<span class="number">{count:,} ({share:.0%})</span></span>'
        )
    return "".join(bars)


def _excerpt(token: TokenInContext) -> str:
    start = max(0, token.position - _SHOWN_WORDS)
    end = token.position + 1 + _SHOWN_WORDS
    before, after = "… " * (start > 0), " …" * (end < len(token.sentence))
    return f"{before}{marked(token.sentence[start:end], token.position - start)}{after}"
