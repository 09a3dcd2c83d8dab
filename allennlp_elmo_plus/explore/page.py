"""Write the HTML of the page."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Optional

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.explore.explorer import Explorer, Surprisal
from allennlp_elmo_plus.explore.heat_map import heat_map
from allennlp_elmo_plus.explore.request import Request, read_request
from allennlp_elmo_plus.inference.top_words import ProbableWord
from allennlp_elmo_plus.report.chart import format_number
from allennlp_elmo_plus.report.html import document, marked, section

_STYLE = """
form { display: grid; gap: .6rem; margin-top: 1rem; } label { display: grid; gap: .2rem; }
input, button { font: inherit; padding: .45rem .6rem; border: 1px solid var(--line); border-radius: 6px; width: 100%;
  background: var(--card); color: var(--text); }
button { width: auto; justify-self: start; padding-inline: 1.4rem; background: var(--c0); color: var(--back); cursor: pointer; }
a { color: var(--c0); } .error { border-left: 4px solid var(--c1); padding: .3rem .8rem; margin-top: 1rem; }
.bars { display: grid; grid-template-columns: max-content 1fr 1fr; gap: .15rem .8rem; align-items: center; font-size: .9rem; }
.bars > .word { max-width: 8rem; overflow-wrap: anywhere; } .bar { display: flex; align-items: center; gap: .4rem; }
.bar i { height: .9rem; border-radius: 2px; flex: none; } .bar span { font-variant-numeric: tabular-nums; }
.lead { margin-bottom: .6rem; } .chosen { font-weight: 700; } td.number { width: 4rem; }
.layers { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
svg { display: block; } svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
svg rect { stroke: var(--line); stroke-width: .5; }
"""

# Of the half of a card, the rest is for the number behind the bar.
_BAR_PERCENT = 72


def explore_page(explorer: Explorer, name: str, typed: dict[str, str]) -> str:
    """Return the page for what was `typed` into it; without anything, the page of an example from the text.

    A request that cannot be answered gets a page with a line that says why. All text is escaped, and the page runs no script.

    Args:
        explorer: the biLM.
        name: its name, for the heading.
        typed: the fields of the page by their names, see `request`.
    """
    if not typed and explorer.example is not None:
        typed = {"first": " ".join(explorer.example)}
    parts: Iterable[str] = ()
    if typed:
        try:
            parts = _answer(explorer, read_request(typed))
        except InputError as error:
            parts = [f'<p class="error" role="alert">{escape(str(error))}</p>']
    return document(f"Explore {name}", _STYLE, [_form(explorer, name, typed), *parts])


def _form(explorer: Explorer, name: str, typed: dict[str, str]) -> str:
    def field(key: str, label: str) -> str:
        value = escape(typed.get(key, ""))
        return f'<label>{label}<input name="{key}" value="{value}" autocomplete="off" spellcheck="false"></label>'

    text = ""
    if explorer.num_text_words:
        text = f" Neighbours come from {count_in_words(explorer.num_text_words, 'word')} of text."
    return (
        f'<h1>{escape(name)}</h1><p class="soft">White space separates the words, as in the text of the training.{text}</p>'
        f'<form action="/">{field("first", "A sentence")}{field("second", "Another one, to compare (optional)")}'
        "<button>Show</button></form>"
    )


def _answer(explorer: Explorer, request: Request) -> list[str]:
    surprisals: list[Optional[Surprisal]] = [None] * len(request.sentences)
    if explorer.has_softmax:
        surprisals = [explorer.surprisal(sentence) for sentence in request.sentences]
    numbers = [number for surprisal in surprisals if surprisal for part in surprisal for number in part or ()]
    largest = max(numbers, default=0.0) or 1.0
    cards = [
        _bars(explorer, request, number, surprisal, largest) if surprisal else _words(request, number)
        for number, surprisal in enumerate(surprisals)
    ]
    if explorer.has_softmax:
        heading, note = "Surprisal of each word, in bits", "The more bits, the less the biLM expects the word."
    else:
        heading, note = "Words", "This biLM has no softmax, so it predicts no words."
    if explorer.has_softmax or explorer.num_text_words:
        note += " Click on a word to see more."
    similarities = explorer.similarities(request.first, request.second or request.first)
    return [
        section(heading, "charts", cards),
        f'<p class="soft">{note}</p>',
        _chosen_word(explorer, request),
        section(
            "Similarity of words in each layer",
            "layers",
            [
                f'<div class="card"><h3>{"Without context" if layer == 0 else f"Layer {layer}"}</h3>'
                f"{heat_map(values, request.first, request.second or None)}</div>"
                for layer, values in enumerate(similarities)
            ],
        ),
        '<p class="soft">Rows are words of the first sentence, columns of the second.</p>' if request.second else "",
    ]


def _bars(explorer: Explorer, request: Request, number: int, surprisal: Surprisal, largest: float) -> str:
    words = request.sentences[number]
    forward: list[Optional[float]] = [None, *surprisal.forward]
    backward: list[Optional[float]] = (
        [None] * len(forward) if surprisal.backward is None else [*surprisal.backward, None]
    )
    names = [escape(BOS_WORD), *(_link(request, number, position) for position in range(len(words))), escape(EOS_WORD)]
    rows = [
        f'<span class="word">{name}</span>{_bar(before, largest, 0)}{_bar(after, largest, 1)}'
        for name, before, after in zip(names, forward, backward, strict=True)
    ]
    means = [f"forward {_perplexity(surprisal.forward)}"]
    if surprisal.backward is not None:
        means.append(f"backward {_perplexity(surprisal.backward)}")
    unknown = [word for word in dict.fromkeys(words) if not explorer.is_known(word)]
    note = f'<p class="soft">Scored as &lt;UNK&gt;: {escape(", ".join(unknown))}</p>' if unknown else ""
    return (
        f'<div class="card"><div class="bars"><span></span><b>given the words before</b><b>given the words after</b>'
        f'{"".join(rows)}</div><p class="soft">Perplexity: {", ".join(means)}</p>{note}</div>'
    )


def _bar(bits: Optional[float], largest: float, colour: int) -> str:
    if bits is None:
        return '<span class="bar"></span>'
    return f'<span class="bar"><i class="c{colour}" style="width: {_BAR_PERCENT * bits / largest:.1f}%"></i><span>{bits:.1f}</span></span>'


def _perplexity(bits: Sequence[float]) -> str:
    return format_number(float(f"{2 ** min(sum(bits) / len(bits), 1000):.4g}"))


def _words(request: Request, number: int) -> str:
    links = [_link(request, number, position) for position in range(len(request.sentences[number]))]
    return f'<div class="card"><p>{" ".join(links)}</p></div>'


def _link(request: Request, number: int, position: int) -> str:
    css_class = ' class="chosen"' if request.word == (number, position) else ""
    address = request._replace(word=(number, position)).address()
    return f'<a{css_class} href="{escape(address)}#word">{escape(request.sentences[number][position])}</a>'


def _chosen_word(explorer: Explorer, request: Request) -> str:
    if request.word is None:
        return ""
    number, position = request.word
    words = (request.first, request.second)[number]
    cards = []
    note = ""
    if explorer.has_softmax:
        forward, backward = explorer.substitutes(words, position)
        cards.append(_substitutes("Substitutes, given the words before", words, position, forward))
        if backward is not None:
            cards.append(_substitutes("Substitutes, given the words after", words, position, backward))
        note = '<p class="soft lead">Click on a substitute to compare the sentence with it and the sentence without it.</p>'
    neighbors = explorer.neighbors(words, position)
    if neighbors is not None:
        in_context = [
            (near.similarity, marked(near.token.sentence, near.token.position)) for near in neighbors.contextual
        ]
        cards.append(_table("Neighbours in context, in the top layer", in_context))
        cards.append(
            _table(
                "Neighbours without context", [(near.similarity, escape(near.word)) for near in neighbors.context_free]
            )
        )
    if not cards:
        return ""
    heading = f'<h2 id="word">The word “{escape(words[position])}”</h2>'
    return f'{heading}{note}<div class="charts">{"".join(cards)}</div>'


def _substitutes(heading: str, words: tuple[str, ...], position: int, substitutes: Sequence[ProbableWord]) -> str:
    """Return a table of `substitutes`. Each links to the sentence with the substitute, beside the sentence without."""
    rows = []
    for word, probability in substitutes:
        changed = Request(words, (*words[:position], word, *words[position + 1 :]))
        rows.append((probability, f'<a href="{escape(changed.address())}">{escape(word)}</a>'))
    return _table(heading, rows)


def _table(heading: str, rows: Sequence[tuple[float, str]]) -> str:
    cells = [f'<tr><td class="number">{_three_digits(value)}</td><td>{text}</td></tr>' for value, text in rows]
    return f'<div class="card"><h3>{heading}</h3><table>{"".join(cells)}</table></div>'


def _three_digits(value: float) -> str:
    return "&lt; 0.001" if 0 < value < 0.001 else f"{value:.3f}"
