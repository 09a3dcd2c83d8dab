"""Run a biLM over packed rows a few time steps at a time, so that long sentences need bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple, Optional

from torch import Tensor

from allennlp_elmo_plus.modules.bilm import BiLM, BiLMOutput


class Chunk(NamedTuple):
    """The biLM's output for some of the N packed rows, each direction in its own reading order."""

    rows: slice  # of the N packed rows
    output: BiLMOutput


def run_in_chunks(
    bilm: BiLM,
    vectors: Tensor,
    forward_rows: Tensor,
    backward_rows: Optional[Tensor],
    batch_sizes: list[int],
    max_rows: int,
) -> Iterator[Chunk]:
    """Yield the output of `bilm` in chunks of complete time steps. The initial state is zero.

    Each chunk starts from the final state of the previous chunk, so the result is exactly that of one run. Only the gathered
    input and the LSTM's working memory are limited to one chunk. Each direction is packed in its own reading order, so a chunk
    of the backward direction continues from the words to its right.

    Args:
        bilm: the biLM.
        vectors: (U, D), the vectors of the distinct words.
        forward_rows: (N,) int64, the index into `vectors` that each packed row reads.
        backward_rows: (N,) int64, the same for the backward direction; None for a forward-only model.
        batch_sizes: the number of running sentences at each time step, never increasing; N in total.
        max_rows: the maximum rows of a chunk; a single step may have more.
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
