"""
A bidirectional language model over characters (ELMo, Peters et al. 2018) and its training, complete on one page.

    python examples/minimal_bilm.py train.txt heldout.txt

Read this file first if you want to know what the package computes. Every formula is here, in the order in which the data flows:
text, characters, word vectors, two LSTM stacks, softmax, loss, optimizer. The package computes the same numbers several times
faster. The letters for shapes are those of ARCHITECTURE.md: B lanes, T time steps, U distinct words, D projection size, V words in
the vocabulary, N = T * B positions in time-major order.
"""

import math
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.kernels.char_conv.reference import conv_max_pool
from allennlp_elmo_plus.kernels.lstm.reference import lstm
from allennlp_elmo_plus.kernels.softmax.reference import exact_nll, sampled_softmax_nll

LANES, STEPS, NEGATIVES, EPOCHS = 16, 20, 64, 5
CELL_SIZE, PROJECTION_SIZE, LAYERS, DROPOUT, CLIP = 64, 16, 2, 0.1, 3.0
FILTERS = [(1, 16), (2, 16), (3, 32)]  # (width in characters, number of filters)
LEARNING_RATE, MAX_NORM = 0.2, 10.0


# 1. Text: one sentence per line, its words separated by spaces.


def read_sentences(path: str) -> list[list[str]]:
    return [line.split() for line in Path(path).read_text("utf-8").splitlines()]


def build_vocabulary(sentences: list[list[str]]) -> list[str]:
    """Return the words, most frequent first: the sampler of negatives assumes this order."""
    counts = Counter(chain.from_iterable(sentences))
    return ["<S>", "</S>", "<UNK>", *sorted(counts, key=lambda word: (-counts[word], word))]


class Lanes:
    """
    B streams of running text. Each sentence, `<S> w1 ... wn </S>`, goes to the lane that has the least text. The forward direction
    predicts the next word; the backward direction reads each sentence from its end. Batches are windows of T positions.
    """

    def __init__(self, sentences: list[list[str]], vocabulary: list[str], num_lanes: int) -> None:
        self.spelling = torch.from_numpy(encode_words(vocabulary)).long()  # (V, C) characters of each word
        self.ids = {word: number for number, word in enumerate(vocabulary)}
        lanes: list[list[list[int]]] = [[[], [], [], []] for _ in range(num_lanes)]
        for sentence in sentences:
            bos, *words, eos = [self.ids.get(word, self.ids["<UNK>"]) for word in ("<S>", *sentence, "</S>")]
            lane = min(lanes, key=lambda lane: len(lane[0]))
            lane[0] += [bos, *words]  # inputs of the forward direction
            lane[1] += [*words, eos]  # its targets
            lane[2] += [eos, *reversed(words)]  # inputs of the backward direction
            lane[3] += [*reversed(words), bos]  # its targets
        # All lanes are truncated to the length of the shortest one. (The package keeps every word, and reads a word that is not in the
        # vocabulary by its own characters; here such a word is read as <UNK>.)
        length = min(len(lane[0]) for lane in lanes)
        self.streams = torch.tensor([[stream[:length] for stream in lane] for lane in lanes])  # (B, 4, length)

    def windows(self) -> list[Tensor]:
        """Return the windows of one epoch, (4, T * B) each, time-major."""
        return [window.permute(1, 2, 0).reshape(4, -1) for window in self.streams.split(STEPS, dim=2)]


# 2. The model.


class WordEncoder(nn.Module):
    """Character CNN: the maximum of each filter over a word, one highway layer, a projection."""

    def __init__(self) -> None:
        super().__init__()
        size = sum(number for _, number in FILTERS)
        self.characters = nn.Parameter(torch.empty(261, 16).uniform_(-1, 1))
        self.weights = nn.ParameterList(
            torch.empty(number, 16, width).uniform_(-0.05, 0.05) for width, number in FILTERS
        )
        self.biases = nn.ParameterList(torch.zeros(number) for _, number in FILTERS)
        self.gate, self.transform, self.project = (
            nn.Linear(size, size),
            nn.Linear(size, size),
            nn.Linear(size, PROJECTION_SIZE),
        )
        for layer in (self.gate, self.transform, self.project):
            nn.init.normal_(layer.weight, std=size**-0.5)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, words: Tensor) -> Tensor:
        """Return the vectors (U, D) of words given as character ids (U, C)."""
        values = conv_max_pool(words, self.characters, list(self.weights), list(self.biases)).relu()
        gate = self.gate(values).sigmoid()
        return self.project(gate * self.transform(values).relu() + (1 - gate) * values)


class LstmLayer(nn.Module):
    """One LSTM layer with a projection, whose cell and projection are clipped."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * PROJECTION_SIZE, 4 * CELL_SIZE)))
        self.bias = nn.Parameter(torch.zeros(4 * CELL_SIZE))
        self.projection = nn.Parameter(nn.init.xavier_uniform_(torch.empty(CELL_SIZE, PROJECTION_SIZE)))
        # The gates are i, g, f, o. The forget gate starts open.
        self.register_buffer("forget_bias", torch.tensor([0.0, 0.0, 1.0, 0.0]).repeat_interleave(CELL_SIZE))

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs (N, D) and the state after the last step."""
        rows = len(state[0])
        batch_sizes = [rows] * (len(inputs) // rows)
        bias = self.bias + self.forget_bias
        outputs, hidden, cell = lstm(batch_sizes, CLIP, CLIP, inputs, *state, self.kernel, bias, self.projection)
        return outputs, (hidden, cell)


class BiLM(nn.Module):
    """The language model of both directions. They share the word encoder and the softmax, and nothing else."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.encoder = WordEncoder()
        self.stacks = nn.ModuleList(nn.ModuleList(LstmLayer() for _ in range(LAYERS)) for _ in ("forward", "backward"))
        self.softmax_weight = nn.Parameter(torch.randn(vocab_size, PROJECTION_SIZE) * PROJECTION_SIZE**-0.5)
        self.softmax_bias = nn.Parameter(torch.zeros(vocab_size))
        self.dropout = nn.Dropout(DROPOUT)

    def zero_state(self, num_lanes: int) -> list[list[tuple[Tensor, Tensor]]]:
        zeros = torch.zeros(num_lanes, PROJECTION_SIZE), torch.zeros(num_lanes, CELL_SIZE)
        return [[zeros] * LAYERS for _ in self.stacks]

    def forward(self, window: Tensor, spelling: Tensor, state: list) -> tuple[list[Tensor], list]:
        """
        Return the top layer's outputs (N, D) of each direction and the new state.

        window: (4, N) word ids as `Lanes` gives them; spelling: (V, C). Each distinct word is encoded once.
        """
        distinct, positions = window[[0, 2]].unique(return_inverse=True)
        words = self.encoder(spelling[distinct])
        outputs, new_state = [], []
        for stack, indices, layer_states in zip(self.stacks, positions, state, strict=True):
            values, new_states = words[indices], []
            for number, (layer, layer_state) in enumerate(zip(stack, layer_states, strict=True)):
                inputs = self.dropout(values)
                values, layer_state = layer(inputs, layer_state)
                if number > 0:
                    values = values + inputs  # the skip connection
                new_states.append(
                    tuple(tensor.detach() for tensor in layer_state)
                )  # gradients stop at the window's edge
            outputs.append(self.dropout(values))
            new_state.append(new_states)
        return outputs, new_state


# 3. Training: truncated back-propagation through time; the state of each lane continues from window to window.


def train(model: BiLM, lanes: Lanes, seed: int) -> None:
    """Train `model` for EPOCHS epochs with Adagrad, as bilm-tf does."""
    sampler, generator = LogUniformSampler(len(lanes.ids), NEGATIVES), np.random.default_rng(seed)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=LEARNING_RATE, initial_accumulator_value=1.0, eps=0.0)
    state = model.zero_state(LANES)
    for epoch in range(EPOCHS):
        model.train()
        for window in lanes.windows():
            outputs, state = model(window, lanes.spelling, state)
            # The loss of a direction: its targets against its own sample of other words.
            nlls = [
                sampled_softmax_nll(
                    hidden, targets, model.softmax_weight, model.softmax_bias, sampler.sample(generator)
                )
                for hidden, targets in zip(outputs, window[[1, 3]], strict=True)
            ]
            loss = sum(nlls) / 2 / window.shape[1]
            optimizer.zero_grad()
            (loss * STEPS).backward()  # bilm-tf descends the loss times the number of steps
            nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
        print(f"epoch {epoch + 1}: perplexity on the training text {perplexity(model, lanes):.1f}", flush=True)


@torch.no_grad()
def perplexity(model: BiLM, lanes: Lanes) -> float:
    """Return exp(mean negative log-likelihood) over both directions, under the whole vocabulary."""
    model.eval()
    state, total, count = model.zero_state(len(lanes.streams)), 0.0, 0
    for window in lanes.windows():
        outputs, state = model(window, lanes.spelling, state)
        for hidden, targets in zip(outputs, window[[1, 3]], strict=True):
            total += float(exact_nll(hidden, targets, model.softmax_weight, model.softmax_bias).sum())
            count += len(targets)
    return math.exp(total / count)


def main(train_path: str, heldout_path: str, seed: int = 13) -> float:
    """Train on one text, print and return the perplexity of the other."""
    torch.manual_seed(seed)
    sentences = read_sentences(train_path)
    vocabulary = build_vocabulary(sentences)
    model = BiLM(len(vocabulary))
    train(model, Lanes(sentences, vocabulary, LANES), seed)
    # One lane, so that every word of the held-out text counts.
    heldout = perplexity(model, Lanes(read_sentences(heldout_path), vocabulary, 1))
    print(f"perplexity on the held-out text {heldout:.1f}")
    return heldout


if __name__ == "__main__":
    main(*sys.argv[1:3])
