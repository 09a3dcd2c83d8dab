"""
Embedding text with a frozen biLM of the released small size (cell 1024, projection 128) with random weights.

Ours is the token embedder `bilm`, with its cache of word vectors empty and filled with the words of the text, in float32 and in
bfloat16, for processors that support it. If AllenNLP is not installed, it is the encoder and the mean of its layers. The alternative is
AllenNLP's `ElmoTokenEmbedder` with the same exported weights, without and with `vocab_to_cache`. All contenders get the same character
ids of the same sentences, in batches sorted by length. The limits are matrix products: those of the LSTMs, and those of the LSTMs and
of each distinct word.
"""

import itertools
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.data.text.characters import BOS_WORD, DEFAULT_MAX_CHARACTERS, EOS_WORD, encode_words
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS
from allennlp_elmo_plus.formats.export import ExportedFiles, export_model
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

from .measurement.comparison import compare
from .measurement.report import Report
from .measurement.rounds import Contender
from .measurement.settings import Settings
from .workloads.model_sizes import released_small, tiny
from .workloads.products import Products, lstm_shapes, word_shapes
from .workloads.sample_text import read_sentences, write_text

LIMIT_WITH_WORDS = "limit: the products alone"
LIMIT_OF_LSTM = "limit: products of the LSTMs"

Sentences = list[list[str]]
# Character ids of a batch (B, T, C) -> its vectors (B, T, K)
Embedder = Callable[[Tensor], Tensor]


def run(settings: Settings) -> Report:
    torch.manual_seed(0)
    options = BiLMOptions.from_dict(settings.size(released_small(), tiny()))
    files = export_model(build_encoder(options), options, SPECIAL_WORDS, settings.scratch / "embedding")
    batches = _batches(settings)
    ids = [sentence_ids(batch, DEFAULT_MAX_CHARACTERS) for batch in batches]
    num_tokens = sum(len(sentence) for batch in batches for sentence in batch)

    reason = settings.why_without_allennlp()
    load = _encoder_embedder if reason is not None else _plugin_embedder
    cold, warm = {"fp32": load(files, "fp32"), "bf16": load(files, "bf16")}, load(files, "fp32")
    warm_in_bfloat16 = load(files, "bf16")
    lstm = [shape for batch in batches for shape in lstm_shapes(options, sum(len(sentence) + 2 for sentence in batch))]
    words = sorted({word for batch in batches for sentence in batch for word in sentence} | {BOS_WORD, EOS_WORD})
    lstm_products = Products(lstm)
    all_products = Products(lstm + word_shapes(options, encode_words(words)))
    contenders = [
        Contender(
            "ours, cache empty",
            lambda: _embed(cold["fp32"], ids),
            num_tokens,
            prepare=lambda: cold.__setitem__("fp32", load(files, "fp32")),
            flops=all_products.flops,
            limit=LIMIT_WITH_WORDS,
        ),
        Contender(
            "ours, cache empty, bf16",
            lambda: _embed(cold["bf16"], ids),
            num_tokens,
            prepare=lambda: cold.__setitem__("bf16", load(files, "bf16")),
            flops=all_products.flops,
        ),
        Contender(
            "ours, cache filled", lambda: _embed(warm, ids), num_tokens, flops=lstm_products.flops, limit=LIMIT_OF_LSTM
        ),
        Contender(
            "ours, cache filled, bf16", lambda: _embed(warm_in_bfloat16, ids), num_tokens, flops=lstm_products.flops
        ),
        *([] if reason is not None else _allennlp_contenders(files, batches, ids, num_tokens)),
        Contender(LIMIT_WITH_WORDS, all_products, num_tokens, flops=all_products.flops),
        Contender(LIMIT_OF_LSTM, lstm_products, num_tokens, flops=lstm_products.flops),
    ]
    label = f"{num_tokens:,} words in {len(batches)} batches, {len(words):,} distinct"
    return Report(
        "embedding",
        "embedding text with a frozen biLM, cell 1024, projection 128",
        [compare(label, contenders, settings)],
        notes=[] if reason is None else [reason],
    )


def _batches(settings: Settings) -> list[Sentences]:
    num_tokens, batch_size = settings.tokens(50_000, 300), settings.size(64, 8)
    text = settings.text
    if text is None:
        text = settings.scratch / "embedding.txt"
        write_text(text, num_tokens)
    sentences = sorted(read_sentences(text, num_tokens), key=len)
    return [sentences[first : first + batch_size] for first in range(0, len(sentences), batch_size)]


@torch.no_grad()
def _embed(embedder: Callable[..., Tensor], *inputs: list[Tensor]) -> None:
    for batch in zip(*inputs, strict=True):
        embedder(*batch)


def _encoder_embedder(files: ExportedFiles, precision: str) -> Embedder:
    encoder = load_encoder(BiLMOptions.from_file(files.options), files.weights)
    encoder.precision = precision
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)

    def embed(ids: Tensor) -> Tensor:
        representation = encoder(ids)
        return representation.layout.unpack(torch.stack(representation.layers).mean(dim=0))

    return embed


def _plugin_embedder(files: ExportedFiles, precision: str) -> Embedder:
    from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder

    return BilmTokenEmbedder(str(files.options), str(files.weights), precision=precision).eval()


def _allennlp_contenders(
    files: ExportedFiles, batches: list[Sentences], ids: list[Tensor], num_tokens: int
) -> list[Contender]:
    from allennlp.modules.token_embedders import ElmoTokenEmbedder

    def embedder(words: Optional[list[str]] = None) -> Any:
        return ElmoTokenEmbedder(str(files.options), str(files.weights), vocab_to_cache=words).eval()

    # In AllenNLP's vocabulary the indices 0 and 1 are padding and the unknown word.
    distinct = sorted(set(itertools.chain.from_iterable(itertools.chain.from_iterable(batches))))
    index_of = {word: index for index, word in enumerate(distinct, start=2)}
    word_ids = [torch.zeros(batch_ids.shape[:2], dtype=torch.int64) for batch_ids in ids]
    for batch, batch_word_ids in zip(batches, word_ids, strict=True):
        for row, sentence in enumerate(batch):
            batch_word_ids[row, : len(sentence)] = torch.tensor([index_of[word] for word in sentence])
    plain, cached = embedder(), embedder(["@@PADDING@@", "@@UNKNOWN@@", *distinct])
    return [
        Contender("AllenNLP ElmoTokenEmbedder", lambda: _embed(plain, ids), num_tokens, limit=LIMIT_WITH_WORDS),
        Contender("AllenNLP, vocab_to_cache", lambda: _embed(cached, ids, word_ids), num_tokens, limit=LIMIT_OF_LSTM),
    ]
