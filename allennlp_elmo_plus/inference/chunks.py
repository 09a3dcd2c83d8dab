"""A biLM over packed rows a few steps at a time: the LSTM's work of long sentences in bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple, Optional

from torch import Tensor

from allennlp_elmo_plus.modules.bilm import BiLM, BiLMOutput


class Chunk(NamedTuple):
    """What the biLM computes for some of the N packed rows, each direction in its own reading order."""

    rows: slice
    output: BiLMOutput


def run_in_chunks(
    bilm: BiLM,
    vectors: Tensor,
    forward_rows: Tensor,
    backward_rows: Optional[Tensor],
    batch_sizes: list[int],
    max_rows: int,
) -> Iterator[Chunk]:
    """`bilm` over sentences that begin with zeros, in chunks of whole steps, at most `max_rows` rows where a step has no more.

    A chunk goes on from the state in which the one before it ended: for the forward direction that is the one to its left,
    for the backward direction, whose rows are packed as it reads them, the one to its right. So the result is that of one
    run, and only the gathered input and the LSTM's working memory are those of a chunk.

    vectors: (U, D), distinct words; forward_rows, backward_rows: (N,) which of them each packed row reads, backward_rows
    None for a forward-only model; batch_sizes: rows running at each step, never rising.
    """
    state = bilm.zero_state(batch_sizes[0] if batch_sizes else 0)
    first_step = first_row = 0
    while first_step < len(batch_sizes):
        step, row = first_step, first_row
        while step < len(batch_sizes) and (step == first_step or row + batch_sizes[step] - first_row <= max_rows):
            row += batch_sizes[step]
            step += 1
        rows = slice(first_row, row)
        output = bilm(
            vectors[forward_rows[rows]],
            None if backward_rows is None else vectors[backward_rows[rows]],
            batch_sizes[first_step:step],
            state,
        )
        yield Chunk(rows, output)
        state = output.state
        first_step, first_row = step, row
