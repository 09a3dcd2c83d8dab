import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.inference.top_words import top_words
from allennlp_elmo_plus.kernels.softmax import exact_softmax


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 15), st.integers(1, 3), st.data())
def test_top_words_in_chunks_are_those_of_the_whole_softmax(num_tokens, vocab_size, chunk_size, block_size, data):
    num_words = data.draw(st.integers(1, vocab_size))
    torch.manual_seed(num_tokens * 100 + vocab_size)
    hidden, weight = torch.randn(num_tokens, 4).double(), torch.randn(vocab_size, 4).double()
    bias = torch.randn(vocab_size).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_softmax, "CPU_BLOCK_TOKENS", block_size)
        result = top_words(hidden, weight, bias, num_words, chunk_size)
    expected = torch.log_softmax(hidden @ weight.t() + bias, dim=1).topk(num_words, dim=1)
    torch.testing.assert_close(result.log_probs, expected.values, rtol=0, atol=1e-12)
    assert torch.equal(result.ids, expected.indices)


@pytest.mark.parametrize(
    "num_words, chunk_size, message",
    [
        (0, 3, "^`num_words` must be from 1 to 5, the words of the vocabulary, got 0$"),
        (6, 3, "^`num_words` must be from 1 to 5, the words of the vocabulary, got 6$"),
        (5, 0, "^`chunk_size` must be at least 1, got 0$"),
    ],
)
def test_a_number_of_words_or_chunk_size_out_of_range_is_refused(num_words, chunk_size, message):
    with pytest.raises(ValueError, match=message):
        top_words(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(5), num_words, chunk_size)
