"""Filters of any width that the options accept, in every kind of batch. The oracle is the reference convolution."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.sentence_batch import batch_from_sentences
from allennlp_elmo_plus.data.batching.sentence_plan import SentencePlan, SentenceReader
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus, encode_to_temporary
from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS, encode_words
from allennlp_elmo_plus.kernels.char_conv.reference import conv_max_pool as reference_convolution
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN

SENTENCES = [
    "the river rises in spring and falls in summer .".split(),
    "a sesquipedalian Donaudampfschifffahrtsgesellschaft near Zürich , 고양이".split(),
    ["x" * 46, "y" * 60, "i"],
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> EncodedCorpus:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in SENTENCES), encoding="utf-8")
    return encode_to_temporary(path)


def windows_of_lanes(corpus: EncodedCorpus) -> Iterator[LanguageModelBatch]:
    plan = LanePlan(corpus.offsets, 2, 5, True, 0, 0)
    return map(WindowBatcher(corpus, np.arange(corpus.num_types)), LaneReader(corpus.tokens, plan))


def whole_sentences(corpus: EncodedCorpus) -> Iterator[LanguageModelBatch]:
    plan = SentencePlan(corpus.offsets, 20, True, 0, 0)
    return map(WindowBatcher(corpus, np.arange(corpus.num_types)), SentenceReader(corpus.tokens, plan))


def padded_sentences(corpus: EncodedCorpus) -> Iterator[LanguageModelBatch]:
    for sentence in SENTENCES:
        words = ["<S>", *sentence, "</S>"]
        ids = torch.from_numpy(encode_words(words)).long()[None]
        yield batch_from_sentences(ids, torch.arange(len(words))[None], torch.ones(1, len(words), dtype=torch.bool))


@pytest.mark.parametrize("batches", [windows_of_lanes, whole_sentences, padded_sentences])
@pytest.mark.parametrize("width", [1, 6, 7, 8, 9, 11, 30, DEFAULT_MAX_CHARACTERS])
def test_filters_of_any_width_see_all_of_a_batch(
    corpus: EncodedCorpus, width: int, batches: Callable[[EncodedCorpus], Iterator[LanguageModelBatch]]
) -> None:
    torch.manual_seed(0)
    cnn = CharacterCNN(4, [[1, 2], [width, 16]], "tanh").double()
    for parameter in cnn.parameters():
        torch.nn.init.normal_(parameter)
    for batch in batches(corpus):
        output = cnn(batch.characters, batch.buckets)
        expected = reference_convolution(batch.characters, cnn.embedding, list(cnn.weights), list(cnn.biases)).tanh()
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(gradients(cnn, output), gradients(cnn, expected), rtol=0, atol=1e-11)


def gradients(cnn: CharacterCNN, output: Tensor) -> list[Tensor]:
    # A different weight for every word and filter, so that no mix-up cancels out.
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(4), dtype=output.dtype)
    return list(torch.autograd.grad((output * weight).sum(), list(cnn.parameters())))
