"""The token embedder under autocast, and one token embedder in several threads."""

import threading

import pytest
import torch

from allennlp_elmo_plus.plugin.modules.bilm_representations import BilmRepresentations
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.exported_bilm import BATCHES, close, ids_of


@pytest.mark.parametrize("requires_grad", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_representations_are_close_to_float32_under_autocast_and_equal_after_it(files, requires_grad, dtype):
    ids = ids_of(BATCHES[2])

    def representation(module):
        return module(ids)["elmo_representations"][0].detach().float()

    def small_module():
        module = BilmRepresentations(**files, dropout=0.0, requires_grad=requires_grad).eval()
        # The vectors then have values of about 1, as those of a trained biLM.
        for parameter in module._encoder.parameters():
            parameter.data.mul_(0.5)
        return module

    expected, module = small_module(), small_module()
    expected = representation(expected)
    with torch.autocast("cpu", dtype):
        close(representation(module), expected, 0.02)
    assert torch.equal(representation(module), expected)


def test_a_stateful_embedder_can_be_used_after_autocast(files):
    embedder = BilmTokenEmbedder(**files, stateful=True).eval()
    plain = BilmTokenEmbedder(**files, stateful=True).eval()
    with torch.autocast("cpu", torch.bfloat16):
        embedder(ids_of(BATCHES[0]))
    plain(ids_of(BATCHES[0]))
    assert embedder._elmo._state.hidden.dtype == embedder._elmo._state.cell.dtype == torch.float32
    close(embedder(ids_of(BATCHES[2])), plain(ids_of(BATCHES[2])), 0.02)


def test_weights_trained_under_autocast_are_close_to_those_trained_in_float32(files):
    """As with the trainer's `use_amp`, the forward pass is under autocast, the backward pass and the step are not."""
    weights = []
    for enabled in (False, True):
        torch.manual_seed(5)
        embedder = BilmTokenEmbedder(**files, requires_grad=True, dropout=0.0, projection_dim=3)
        optimizer = torch.optim.SGD(embedder.parameters(), lr=0.001)
        for batch in BATCHES[1:3]:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled):
                loss = embedder(ids_of(batch)).float().square().sum()
            loss.backward()
            optimizer.step()
        weights.append({name: parameter.detach().clone() for name, parameter in embedder.named_parameters()})
    start = dict(BilmTokenEmbedder(**files).named_parameters())
    in_float32, under_autocast = weights
    change = torch.cat([(in_float32[name] - value).flatten() for name, value in start.items()]).norm().item()
    difference = torch.cat([(under_autocast[name] - in_float32[name]).flatten() for name in start]).norm().item()
    assert change > 0
    assert difference < 0.1 * change


def test_four_threads_with_one_token_embedder_get_the_vectors_of_one_thread(files):
    batches = [
        ids_of([[f"{word}{number % 7}" for word in sentence] for sentence in BATCHES[2]]) for number in range(40)
    ]
    alone, shared = BilmTokenEmbedder(**files).eval(), BilmTokenEmbedder(**files).eval()
    with torch.no_grad():
        expected = [alone(batch) for batch in batches]
    by_threads = [None] * len(batches)

    def embed(first: int) -> None:
        with torch.no_grad():
            for index in range(first, len(batches), 4):
                by_threads[index] = shared(batches[index])

    threads = [threading.Thread(target=embed, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results in (by_threads, [shared(batch) for batch in batches]):
        for ours, theirs in zip(results, expected, strict=True):
            close(ours, theirs, 1e-5)
