"""
Training in W processes of B lanes each, compared with training in one process of B * W lanes.

There is no dropout, negatives are shared, and numbers are float64. The lanes of the text end at different windows, so that some
processes have no lane left in the last windows.
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
from allennlp_elmo_plus.training.distributed.sparse_gradients import SparseGradientAllReduce, exclude_from_ddp
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.loss import training_loss
from tests.helpers.runs.process_pool import ProcessPool
from tests.helpers.small_models import small_options

NUM_STEPS, VOCAB_SIZE, MAX_NORM = 4, 30, 0.45
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
    """A model with the batches of one epoch of this process, which reads its part of `num_lanes` lanes."""

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
            sparse = self.model.sparse_parameters()
            exclude_from_ddp(self.wrapped, sparse)
            self.wrapped, exchange = DistributedDataParallel(self.wrapped), SparseGradientAllReduce(sparse)
        self.optimizer = Adagrad(self.model.parameters(), max_norm=MAX_NORM, sparse_all_reduce=exchange)

    def step(self, batches: list[LanguageModelBatch], state: Optional[BiLMState]) -> tuple[float, Optional[BiLMState]]:
        """Take one optimizer step with the mean gradient of `batches`. Return the mean loss and the state after the batches."""
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
        loss = training_loss(self, batch, result.forward_nll_sum, result.backward_nll_sum, 1)
        return loss, result.state.detach()


def batcher(corpus: EncodedCorpus, epoch: int) -> WindowBatcher:
    return WindowBatcher(corpus, np.arange(corpus.num_types), LogUniformSampler(VOCAB_SIZE, 5), seed=3, epoch=epoch)


def train(text: Path, num_lanes: int, options: dict[str, Any], batches_per_step: int = 1) -> dict[str, Any]:
    """
    Train this process for one epoch.

    Returns:
        The losses and gradient norms of all steps, the gradients of the last step, the weights and the state after the epoch, the
        number of batches without a lane, and whether each of the model's sparse parameters has a sparse gradient.
    """
    job = Job(text, num_lanes, options)
    losses, norms, num_empty, state = [], [], 0, None
    for first in range(0, len(job.batches), batches_per_step):
        batches = job.batches[first : first + batches_per_step]
        loss, state = job.step(batches, state)
        losses.append(loss)
        norms.append(job.optimizer.last_grad_norm)
        num_empty += sum(not batch.batch_sizes for batch in batches)
    grads = {
        name: param.grad.to_dense() if param.grad.is_sparse else param.grad
        for name, param in job.model.named_parameters()
    }
    return {
        "losses": losses,
        "norms": norms,
        "grads": grads,
        "weights": job.model.state_dict(),
        "state": state,
        "num_empty": num_empty,
        "are_sparse": [param.grad.is_sparse for param in job.model.sparse_parameters()],
    }


def assert_same(results: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Compare the results of all processes with the result of one process."""
    mean = torch.tensor([result["losses"] for result in results], dtype=torch.double).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"], dtype=torch.double), rtol=1e-12, atol=0)
    for result in results:
        assert result["norms"] == pytest.approx(expected["norms"], rel=1e-11)
        for kind in ("grads", "weights"):
            for name, tensor in expected[kind].items():
                torch.testing.assert_close(result[kind][name], tensor, rtol=1e-11, atol=1e-13)
                assert torch.equal(result[kind][name], results[0][kind][name]), "processes must have equal weights"
    merged_state = merge_lane_states([result["state"] for result in results])
    for tensor, expected_tensor in zip(merged_state, expected["state"]):
        torch.testing.assert_close(tensor, expected_tensor, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("num_processes", [2, 3])
def test_losses_gradients_weights_and_state_are_those_of_one_process(
    processes: ProcessPool, text: Path, name: str, num_processes: int
) -> None:
    expected = train(text, 6, INPUTS[name])
    assert expected["are_sparse"] and all(expected["are_sparse"])
    assert max(expected["norms"]) > MAX_NORM > min(expected["norms"]), "the clip must act in some steps only"
    assert_same(processes.run(num_processes, train, text, 6, INPUTS[name]), expected)


RECURRENCES: dict[str, dict[str, Any]] = {
    "lstm": {},
    "normalised": {"lstm": {"dim": 9, "projection_dim": 5, "layer_norm": True}},
    "gru": {"lstm": {"dim": 9, "projection_dim": 5, "cell": "gru"}},
}


@pytest.mark.parametrize("name", RECURRENCES)
def test_processes_without_a_lane_take_part_in_the_remaining_steps(
    processes: ProcessPool, text: Path, name: str
) -> None:
    text.write_text("a b c d e f g h i j k l m n o p\nq\nr\n", encoding="utf-8")
    options = RECURRENCES[name]
    expected = train(text, 3, options)
    results = processes.run(3, train, text, 3, options)
    assert results[1]["num_empty"] and results[2]["num_empty"] and not expected["num_empty"]
    assert_same(results, expected)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_step_of_several_windows_has_the_mean_of_their_gradients(
    processes: ProcessPool, text: Path, num_processes: int
) -> None:
    """The state is carried from window to window; gradients do not flow through it."""
    expected = train_with_dense_sums(text, 6, batches_per_step=3)
    results = processes.run(num_processes, train, text, 6, {}, 3) if num_processes > 1 else [train(text, 6, {}, 3)]
    assert_same(results, expected)


def train_with_dense_sums(text: Path, num_lanes: int, batches_per_step: int) -> dict[str, Any]:
    """Train as `train` does, with the gradient of each window computed separately and summed as a dense tensor."""
    job = Job(text, num_lanes, {})
    parameters = dict(job.model.named_parameters())
    losses, norms, state = [], [], None
    for first in range(0, len(job.batches), batches_per_step):
        batches = job.batches[first : first + batches_per_step]
        loss_sum, grads = 0.0, {name: torch.zeros_like(param) for name, param in parameters.items()}
        for batch in batches:
            loss, state = job.wrapped(batch, state)
            for name, grad in zip(parameters, torch.autograd.grad(loss, list(parameters.values()))):
                grads[name] += grad.to_dense() if grad.is_sparse else grad
            loss_sum += loss.item()
        for name, param in parameters.items():
            param.grad = grads[name] / len(batches)
        job.optimizer.step()
        losses.append(loss_sum / len(batches))
        norms.append(job.optimizer.last_grad_norm)
    last = {name: param.grad for name, param in parameters.items()}
    return {"losses": losses, "norms": norms, "grads": last, "weights": job.model.state_dict(), "state": state}


def test_the_mean_gradient_of_several_windows_is_that_of_one_batch_with_all_their_lanes(text: Path) -> None:
    """The lanes of the large batch start with the states that the windows start with."""
    job = Job(text, 4, {})
    first = job.batches[0]
    negatives = {"forward_negatives": first.forward_negatives, "backward_negatives": first.backward_negatives}
    windows = [batch._replace(**negatives) for batch in job.batches[:3]]
    assert all(batch.mask.all() for batch in windows), "all windows must have the same number of targets"
    states = [job.model.bilm.zero_state(4)]
    with torch.no_grad():
        for batch in windows[:-1]:
            states.append(job.wrapped(batch, states[-1])[1])
    (sum(job.wrapped(batch, state)[0] for batch, state in zip(windows, states)) / 3).backward()
    expected = {name: param.grad.to_dense() for name, param in job.model.named_parameters()}

    job.optimizer.zero_grad()
    large_batch, order = merge_batches(windows)
    state = BiLMState(*(torch.cat(tensors, dim=2)[:, :, order] for tensors in zip(*states)))
    loss, _ = job.wrapped(large_batch, state)
    loss.backward()
    for name, param in job.model.named_parameters():
        torch.testing.assert_close(param.grad.to_dense(), expected[name], rtol=1e-11, atol=1e-14)


def merge_batches(batches: list[LanguageModelBatch]) -> tuple[LanguageModelBatch, Tensor]:
    """Return one batch with the rows of `batches`, longest first, and the index of each of its rows in their concatenation."""
    characters = torch.cat([batch.characters for batch in batches])
    word_ids = torch.cat([batch.word_ids for batch in batches])
    lengths = torch.cat([batch.lengths for batch in batches])
    order = lengths.argsort(descending=True, stable=True)
    first_words = torch.tensor([0, *(len(batch.word_ids) for batch in batches)]).cumsum(0)[:-1]

    def rows(name: str, offset: bool) -> Tensor:
        tensors = [getattr(batch, name) + (first if offset else 0) for batch, first in zip(batches, first_words)]
        return torch.cat(tensors)[order]

    # The words are not sorted by length any more, so all of them are in one bucket of the full width.
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


def test_sharded_lane_states_are_merged_into_the_original() -> None:
    state = BiLMState(torch.randn(2, 3, 12, 5), torch.randn(2, 3, 12, 7))
    for num_processes in (1, 2, 3, 4):
        shards = [shard_lane_state(state, rank, num_processes) for rank in range(num_processes)]
        assert shards[-1].cell.shape == (2, 3, 12 // num_processes, 7)
        assert all(map(torch.equal, merge_lane_states(shards), state))
        assert torch.equal(shards[-1].hidden[:, :, 0], state.hidden[:, :, num_processes - 1])
