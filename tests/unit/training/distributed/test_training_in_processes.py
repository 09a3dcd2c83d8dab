"""
Training in W processes of B lanes is training in one process of B * W lanes: the oracle of every test here.

Dropout is off and negatives are shared, in double precision. The text's lanes end at different windows, so that some processes have
nothing to read in the last ones.
"""

from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.distributed.lane_states import merge_lane_states, shard_lane_state
from allennlp_elmo_plus.training.distributed.sparse_gradients import (
    SparseGradientAllReduce,
    exclude_from_ddp,
    is_excluded_from_ddp,
)
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.loss import touch_parameters, training_loss
from tests.helpers.process_pool import ProcessPool
from tests.helpers.small_models import small_options

NUM_STEPS, VOCAB_SIZE, MAX_NORM = 4, 30, 0.53
LINES = [
    "the hen sat on the egg",
    "",
    "a fox ran by",
    "the egg lay still and the hen sat on",
    "no hen",
    "so it goes on",
] * 3
INPUTS: dict[str, dict[str, Any]] = {
    "characters": {},
    "words": {"char_cnn": None},
    "one matrix": {"char_cnn": None, "share_embedding_softmax": True},
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


class Job:
    """The training of an epoch over this process's share of `num_lanes` lanes."""

    def __init__(self, text: Path, num_lanes: int, options: dict[str, Any], epoch: int = 0) -> None:
        rank, num_processes = world()
        corpus = open_or_encode(text, text.parent / "cache", max_characters=12)
        plan = LanePlan(corpus.offsets, num_lanes, NUM_STEPS, True, 0, epoch)
        self.batches = list(
            map(batcher(corpus, epoch), LaneReader(corpus.tokens, plan, range(rank, num_lanes, num_processes)))
        )
        torch.manual_seed(1)
        self.model = build_language_model(small_options(n_negative_samples_batch=5, **options), VOCAB_SIZE).double()
        self.wrapped: nn.Module = Loss(self.model)
        exchange = None
        if num_processes > 1:
            by_rows = self.model.sparse_parameters()
            exclude_from_ddp(self.wrapped, by_rows)
            self.wrapped, exchange = DistributedDataParallel(self.wrapped), SparseGradientAllReduce(by_rows)
        self.optimizer = Adagrad(self.model.parameters(), max_norm=MAX_NORM, sparse_all_reduce=exchange)

    def step(self, batches: list[LanguageModelBatch], state: Optional[BiLMState]) -> tuple[float, Optional[BiLMState]]:
        """The loss of `batches`, whose gradients are added up for one step; and the state after it."""
        total = 0.0
        self.optimizer.zero_grad()
        for batch in batches:
            loss, state = self.wrapped(batch, state)
            (loss / len(batches)).backward()
            total += loss.item() / len(batches)
        self.optimizer.step()
        return total, state


class Loss(nn.Module):
    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: LanguageModelBatch, state: Optional[BiLMState]) -> tuple[Tensor, BiLMState]:
        result = self.model.sampled_loss(batch, (batch.forward_negatives, batch.backward_negatives), state)
        loss = training_loss(batch, result.forward_nll_sum, result.backward_nll_sum, 1)
        if not batch.batch_sizes:
            loss = touch_parameters(loss, (each for each in self.parameters() if not is_excluded_from_ddp(each)))
        return loss, result.state.detach()


def batcher(corpus: EncodedCorpus, epoch: int) -> WindowBatcher:
    return WindowBatcher(corpus, np.arange(corpus.num_types), LogUniformSampler(VOCAB_SIZE, 5), seed=3, epoch=epoch)


def train(text: Path, num_lanes: int, options: dict[str, Any], at_once: int = 1) -> dict[str, Any]:
    """Losses, norms, gradients of the last step, weights and the state, after an epoch of this process's share."""
    job = Job(text, num_lanes, options)
    losses, norms, empty, state = [], [], 0, None
    for first in range(0, len(job.batches), at_once):
        batches = job.batches[first : first + at_once]
        loss, state = job.step(batches, state)
        losses.append(loss)
        norms.append(job.optimizer.last_grad_norm)
        empty += sum(not batch.batch_sizes for batch in batches)
    grads = {
        name: each.grad.to_dense() if each.grad.is_sparse else each.grad for name, each in job.model.named_parameters()
    }
    return {
        "losses": losses,
        "norms": norms,
        "grads": grads,
        "weights": job.model.state_dict(),
        "state": state,
        "empty": empty,
        "are_sparse": [each.grad.is_sparse for each in job.model.sparse_parameters()],
    }


def assert_same(parts: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    mean = torch.tensor([part["losses"] for part in parts], dtype=torch.double).mean(0)
    torch.testing.assert_close(mean, torch.tensor(whole["losses"], dtype=torch.double), rtol=1e-12, atol=0)
    for part in parts:
        assert part["norms"] == pytest.approx(whole["norms"], rel=1e-11)
        for kind in ("grads", "weights"):
            for name, expected in whole[kind].items():
                torch.testing.assert_close(part[kind][name], expected, rtol=1e-11, atol=1e-13)
                assert torch.equal(part[kind][name], parts[0][kind][name]), "weights of processes drift apart"
    for ours, expected in zip(merge_lane_states([part["state"] for part in parts]), whole["state"]):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("num_processes", [2, 3])
def test_losses_gradients_weights_and_state(processes: ProcessPool, text: Path, name: str, num_processes: int) -> None:
    whole = train(text, 6, INPUTS[name])
    assert whole["are_sparse"] and all(whole["are_sparse"])
    assert max(whole["norms"]) > MAX_NORM > min(whole["norms"]), "the clip acts in some steps only"
    parts = processes.run(num_processes, train, text, 6, INPUTS[name])
    assert_same(parts, whole)


RECURRENCES: dict[str, dict[str, Any]] = {
    "lstm": {},
    "normalised": {"lstm": {"dim": 9, "projection_dim": 5, "layer_norm": True}},
    "gru": {"lstm": {"dim": 9, "projection_dim": 5, "cell": "gru"}},
}


@pytest.mark.parametrize("name", RECURRENCES)
def test_processes_whose_lanes_have_ended_go_on_stepping(processes: ProcessPool, text: Path, name: str) -> None:
    text.write_text("a b c d e f g h i j k l m n o p\nq\nr\n", encoding="utf-8")
    options = RECURRENCES[name]
    whole = train(text, 3, options)
    parts = processes.run(3, train, text, 3, options)
    assert parts[1]["empty"] and parts[2]["empty"] and not whole["empty"]
    assert_same(parts, whole)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_gradients_of_several_windows_at_once(processes: ProcessPool, text: Path, num_processes: int) -> None:
    """The step of k windows in turn is that of the mean of their losses, the state handed on and cut off between them."""
    whole = accumulated_by_hand(text, 6, at_once=3)
    parts = processes.run(num_processes, train, text, 6, {}, 3) if num_processes > 1 else [train(text, 6, {}, 3)]
    assert_same(parts, whole)


def accumulated_by_hand(text: Path, num_lanes: int, at_once: int) -> dict[str, Any]:
    """As `train`, each window's gradient taken by itself and the mean of them made dense."""
    job = Job(text, num_lanes, {})
    parameters = dict(job.model.named_parameters())
    losses, norms, state = [], [], None
    for first in range(0, len(job.batches), at_once):
        batches = job.batches[first : first + at_once]
        loss_sum, grads = 0.0, {name: torch.zeros_like(each) for name, each in parameters.items()}
        for batch in batches:
            loss, state = job.wrapped(batch, state)
            for name, grad in zip(parameters, torch.autograd.grad(loss, list(parameters.values()))):
                grads[name] += grad.to_dense() if grad.is_sparse else grad
            loss_sum += loss.item()
        for name, each in parameters.items():
            each.grad = grads[name] / len(batches)
        job.optimizer.step()
        losses.append(loss_sum / len(batches))
        norms.append(job.optimizer.last_grad_norm)
    last = {name: each.grad for name, each in parameters.items()}
    return {"losses": losses, "norms": norms, "grads": last, "weights": job.model.state_dict(), "state": state}


def test_several_windows_are_one_batch_of_as_many_lanes(text: Path) -> None:
    """The gradient of k windows of B lanes is that of one batch of k * B lanes, each with its own state before it."""
    job = Job(text, 4, {})
    first = job.batches[0]
    negatives = {"forward_negatives": first.forward_negatives, "backward_negatives": first.backward_negatives}
    windows = [batch._replace(**negatives) for batch in job.batches[:3]]
    assert all(batch.mask.all() for batch in windows), "windows of as many targets each"
    states = [job.model.bilm.zero_state(4)]
    with torch.no_grad():
        for batch in windows[:-1]:
            states.append(job.wrapped(batch, states[-1])[1])
    (sum(job.wrapped(batch, state)[0] for batch, state in zip(windows, states)) / 3).backward()
    apart = {name: each.grad.to_dense() for name, each in job.model.named_parameters()}

    job.optimizer.zero_grad()
    large, order = merged(windows)
    state = BiLMState(*(torch.cat(parts, dim=2)[:, :, order] for parts in zip(*states)))
    loss, _ = job.wrapped(large, state)
    loss.backward()
    for name, each in job.model.named_parameters():
        torch.testing.assert_close(each.grad.to_dense(), apart[name], rtol=1e-11, atol=1e-14)


def merged(batches: list[LanguageModelBatch]) -> tuple[LanguageModelBatch, Tensor]:
    """The rows of `batches` as those of one, longest first, and which of all rows each of them is."""
    characters = torch.cat([batch.characters for batch in batches])
    word_ids = torch.cat([batch.word_ids for batch in batches])
    lengths = torch.cat([batch.lengths for batch in batches])
    order = lengths.argsort(descending=True, stable=True)
    first_words = torch.tensor([0, *(len(batch.word_ids) for batch in batches)]).cumsum(0)[:-1]

    def rows(name: str, offset: bool) -> Tensor:
        parts = [getattr(batch, name) + (first if offset else 0) for batch, first in zip(batches, first_words)]
        return torch.cat(parts)[order]

    # No longer by rising length of their words: one bucket as wide as can be.
    return batches[0]._replace(
        characters=characters,
        buckets=[(len(characters), characters.shape[1])],
        word_ids=word_ids,
        forward_inputs=rows("forward_inputs", True),
        backward_inputs=rows("backward_inputs", True),
        forward_targets=rows("forward_targets", False),
        backward_targets=rows("backward_targets", False),
        lengths=lengths[order],
        batch_sizes=[int((lengths > step).sum()) for step in range(NUM_STEPS) if (lengths > step).any()],
    ), order


def test_states_are_shared_out_and_joined_again() -> None:
    state = BiLMState(torch.randn(2, 3, 12, 5), torch.randn(2, 3, 12, 7))
    for num_processes in (1, 2, 3, 4):
        shares = [shard_lane_state(state, rank, num_processes) for rank in range(num_processes)]
        assert shares[-1].cell.shape == (2, 3, 12 // num_processes, 7)
        assert all(map(torch.equal, merge_lane_states(shares), state))
        assert torch.equal(shares[-1].hidden[:, :, 0], state.hidden[:, :, num_processes - 1])
