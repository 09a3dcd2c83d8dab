"""The token embedder's cache of words and its carried state."""

import torch
from allennlp.modules.token_embedders import ElmoTokenEmbedder

from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.exported_bilm import (
    BATCHES,
    OPTIONS,
    WORDS,
    close,
    exported,
    ids_of,
)


def test_a_sentence_has_the_same_vectors_in_every_batch(files):
    embedder = BilmTokenEmbedder(**files).eval()
    first = [embedder(ids_of(batch)) for batch in BATCHES]
    for batch, vectors in zip(BATCHES[::-1], first[::-1], strict=True):
        close(embedder(ids_of(batch)), vectors, 1e-6)
    for row, sentence in enumerate(BATCHES[2]):
        close(embedder(ids_of([sentence]))[0], first[2][row, : len(sentence)], 1e-6)


def test_a_stateful_embedder_carries_its_state_as_elmo_token_embedder_does(files):
    ours, theirs = BilmTokenEmbedder(**files, stateful=True).eval(), ElmoTokenEmbedder(**files).eval()
    fresh = BilmTokenEmbedder(**files).eval()
    differences = []
    for batch in BATCHES + BATCHES[1:3]:
        ids = ids_of(batch)
        vectors = ours(ids)
        close(vectors, theirs(ids))
        differences.append((vectors - fresh(ids)).abs().max().item())
    assert differences[0] == 0
    # The state must change the vectors; otherwise the comparison above would not test it.
    assert min(differences[1:]) > 1e-3


def test_the_state_is_detached_and_converted_to_another_dtype(files):
    embedder = BilmTokenEmbedder(**files, stateful=True, requires_grad=True).eval()
    embedder(ids_of(BATCHES[0]))
    assert not embedder._elmo._state.hidden.requires_grad
    vectors = embedder.double()(ids_of(BATCHES[2]))
    assert vectors.dtype == torch.float64
    vectors.sum().backward()
    embedder(ids_of(BATCHES[1])).sum().backward()


def count_encoded_words(embedder):
    counts = []
    embedder._elmo._encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    return counts


def test_each_distinct_word_is_encoded_once_in_a_batch_in_training(files):
    embedder = BilmTokenEmbedder(**files, requires_grad=True)
    counts = count_encoded_words(embedder)
    embedder(ids_of([["the", "cat"], ["the", "the", "cat"]]))
    embedder(ids_of([["the"]]))
    # The counts include `<S>` and `</S>`.
    assert counts == [4, 3]


def test_a_frozen_embedder_encodes_each_word_once_until_its_weights_change(files):
    embedder = BilmTokenEmbedder(**files).eval()
    counts = count_encoded_words(embedder)
    embedder(ids_of([["the", "cat"]]))
    embedder(ids_of([["the"], ["cat", "sat"]]))
    embedder(ids_of([["sat"]]))
    assert counts == [4, 1]
    with torch.no_grad():
        embedder._elmo._encoder.token_encoder.projection_bias.add_(1.0)
    changed = embedder(ids_of([["sat"]]))
    assert counts == [4, 1, 3]
    reference = BilmTokenEmbedder(**files).eval()
    reference.load_state_dict(embedder.state_dict())
    close(reference(ids_of([["sat"]])), changed, 1e-6)


def test_weights_loaded_after_a_batch_are_used(files, tmp_path):
    embedder = BilmTokenEmbedder(options=OPTIONS).eval()
    embedder(ids_of(BATCHES[0]))
    pretrained = BilmTokenEmbedder(**files).eval()
    embedder.load_state_dict(pretrained.state_dict())
    close(embedder(ids_of(BATCHES[0])), pretrained(ids_of(BATCHES[0])), 1e-6)


def test_training_works_with_a_cache_that_was_filled_in_inference_mode(files):
    embedder = BilmTokenEmbedder(**files, projection_dim=3)
    with torch.inference_mode():
        embedder(ids_of([["the", "cat"]]))
    embedder(ids_of([["the", "cat", "sat"]])).sum().backward()
    assert embedder._elmo.scalar_mix_0.gamma.grad is not None


def test_words_of_vocab_to_cache_are_encoded_first_and_other_words_when_they_occur(files):
    plain, embedder = (
        BilmTokenEmbedder(**files).eval(),
        BilmTokenEmbedder(**files, vocab_to_cache=["pad", *WORDS]).eval(),
    )
    counts = count_encoded_words(embedder)
    ids = ids_of([["the", "cat", "unheard"]])
    close(embedder(ids), plain(ids), 1e-6)
    assert counts == [len(WORDS) + 1, 3]


def test_word_inputs_are_indices_into_vocab_to_cache_as_in_elmo_token_embedder(tmp_path):
    # With a cache, AllenNLP treats a word without a positive number in its vector as padding; the bias prevents that.
    files = exported(tmp_path, BiLMOptions.from_dict(OPTIONS), token_bias=4.0)
    vocabulary = ["pad", *WORDS]
    ours = BilmTokenEmbedder(**files, vocab_to_cache=vocabulary).eval()
    theirs = ElmoTokenEmbedder(**files, vocab_to_cache=vocabulary).eval()
    batch = BATCHES[0]
    ids = ids_of(batch)
    indices = torch.zeros(ids.shape[:2], dtype=torch.int64)
    for row, sentence in enumerate(batch):
        for step, word in enumerate(sentence):
            indices[row, step] = vocabulary.index(word)
    expected = theirs(ids, indices)
    close(ours(ids, indices), expected)
    # The indices decide: other characters change nothing.
    other = ids.clone()
    other[ids == ord("t") + 1] = ord("q") + 1
    close(ours(other, indices), expected)
    # For an index beyond the vocabulary, the characters are used.
    unknown = indices.clone()
    unknown[0, 1] = len(vocabulary) + 5
    close(ours(ids, unknown), expected)
    close(BilmTokenEmbedder(**files).eval()(ids, indices), expected)


def test_words_of_vocab_to_cache_get_gradients_in_fine_tuning(files):
    embedder = BilmTokenEmbedder(**files, vocab_to_cache=WORDS, requires_grad=True)
    embedder(ids_of([["the"]])).sum().backward()
    assert all(parameter.grad is not None for parameter in embedder._elmo._encoder.parameters())
