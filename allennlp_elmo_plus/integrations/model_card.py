"""The model card of a biLM: the README.md of its repository on the Hugging Face Hub."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from allennlp_elmo_plus.formats.export import allennlp_refusal, bilm_tf_refusal
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

_LIBRARY = "allennlp_elmo_plus"
_TAGS = ("elmo", "bilm", "word-embeddings")


class CardFacts(NamedTuple):
    """The facts about a biLM that its card shows."""

    repo_id: str  # USER/NAME
    options: BiLMOptions
    num_words: Optional[int]  # words of the softmax, or of the word input; None where the model has neither
    num_parameters: int
    perplexity: Optional[float]  # exact, on held-out text, where it is known
    file_names: Sequence[str]  # the files in the repository
    languages: Sequence[str] = ()  # ISO 639 codes
    license: Optional[str] = None  # an identifier of the Hub, such as "apache-2.0"
    tags: Sequence[str] = ()  # besides those of every biLM


def model_card(facts: CardFacts) -> str:
    """Return the text of the card: metadata in YAML, and then a page in Markdown. It needs the package huggingface_hub."""
    from huggingface_hub import EvalResult, ModelCardData

    name = facts.repo_id.rpartition("/")[2]
    results = None
    if facts.perplexity is not None:
        results = [
            EvalResult(
                task_type="text-generation",
                task_name="Language modeling",
                dataset_type="text",
                dataset_name="held-out text",
                metric_type="perplexity",
                metric_name="Perplexity",
                metric_value=round(facts.perplexity, 2),
            )
        ]
    metadata = ModelCardData(
        language=list(facts.languages) or None,
        license=facts.license,
        library_name=_LIBRARY,
        pipeline_tag="feature-extraction",
        tags=[*_TAGS, *facts.tags],
        model_name=name if results else None,
        eval_results=results,
    )
    return f"---\n{metadata.to_yaml()}\n---\n\n# {name}\n\n{_page(facts)}"


def _page(facts: CardFacts) -> str:
    options = facts.options
    num_layers, num_directions = options.lstm.n_layers + 1, 1 + options.bidirectional
    width = options.lstm.projection_dim * num_directions
    kind = "bidirectional language model" if options.bidirectional else "forward language model"
    url = f"hf://{facts.repo_id}"
    rows = "\n".join(f"| {name} | {value} |" for name, value in _table(facts, num_layers, width))
    files = "\n".join(f"- {line}" for line in _files(facts))
    return f"""\
An ELMo {kind} ([Peters et al. 2018](https://aclanthology.org/N18-1202)). Each word of a sentence
gets {num_layers} vectors of {width:,} numbers: one without context, and one for each {options.lstm.cell.upper()} layer.

| | |
|---|---|
{rows}

## Use

With `allennlp_elmo_plus` and `cached-path`:

```python
from allennlp_elmo_plus import ElmoEmbedder

embedder = ElmoEmbedder.from_pretrained("{url}")
vectors = embedder.embed_sentence("The mill turns .".split())  # an array of shape ({num_layers}, 4, {width})
```

In spaCy:

```python
import spacy

nlp = spacy.blank("xx")
nlp.add_pipe("elmo_plus", config={{"model": "{url}"}})
vector = nlp("The mill turns.")[1].vector
```

The text should be divided into words in the same way as the training text.

## Files

{files}

## Training text

The author has not described the training text here yet.
"""


def _table(facts: CardFacts, num_layers: int, width: int) -> list[tuple[str, str]]:
    options = facts.options
    lstm = options.lstm
    rows = [
        ("Input", "words of a vocabulary" if options.char_cnn is None else "the characters of each word"),
        (f"{lstm.cell.upper()} layers", f"{lstm.n_layers} of {lstm.dim:,} cells"),
        ("Directions", "forward and backward" if options.bidirectional else "forward"),
        ("Vectors of a word", f"{num_layers} of {width:,} numbers"),
        ("Parameters", f"{facts.num_parameters:,}"),
    ]
    if facts.num_words is not None:
        rows.append(("Vocabulary", f"{facts.num_words:,} words"))
    if facts.perplexity is not None:
        rows.append(("Perplexity of held-out text", f"{facts.perplexity:,.2f}"))
    return rows


def _files(facts: CardFacts) -> list[str]:
    lines = {
        "model.tar.gz": "`model.tar.gz`: the model, as `elmo-plus train` writes it",
        "options.json": "`options.json`, `weights.hdf5`, `vocab.txt`: the model in the files of bilm-tf, "
        f"for {_readers(facts.options)}",
        "model.safetensors": "`model.safetensors`: the weights by their names in `allennlp_elmo_plus`",
    }
    return [line for name, line in lines.items() if name in facts.file_names]


def _readers(options: BiLMOptions) -> str:
    readers = ["`allennlp_elmo_plus`"]
    if allennlp_refusal(options) is None:
        readers.append("AllenNLP's `Elmo`")
    if bilm_tf_refusal(options) is None:
        readers.append("bilm-tf")
    return ", ".join(readers)
