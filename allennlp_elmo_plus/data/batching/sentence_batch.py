"""Make a batch of the language model from padded sentences that are independent of each other."""

from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch, length_buckets
from allennlp_elmo_plus.data.batching.unique_words import unique_rows
from allennlp_elmo_plus.data.text.characters import PADDING_ID


def batch_from_sentences(character_ids: Optional[Tensor], word_ids: Tensor, mask: Tensor) -> LanguageModelBatch:
    """Return the batch of B sentences `<S> w1 .. wn </S>`, on their device: n + 1 steps in each direction, the longest row first.

    Args:
        character_ids: (B, T, C), see `data/text/characters.py`; None for a model of word input.
        word_ids: (B, T), vocabulary ids counted from 0; the values at padding are ignored.
        mask: (B, T) bool, True at the n + 2 words of a sentence, which start at its left end.

    Raises:
        ValueError: The shapes disagree, the mask has holes, or a sentence has fewer than 2 words, so it lacks `<S>` or `</S>`.
    """
    if character_ids is None:
        character_ids = word_ids.new_empty(*word_ids.shape, 0)
    if word_ids.shape != mask.shape or character_ids.shape[:2] != mask.shape:
        raise ValueError(
            "`character_ids` (B, T, C), `word_ids` and `mask` (B, T) must agree on B and T, got "
            f"{tuple(character_ids.shape)}, {tuple(word_ids.shape)} and {tuple(mask.shape)}"
        )
    num_words = mask.sum(dim=1)
    columns = torch.arange(mask.shape[1], device=mask.device)
    if not torch.equal(mask, columns < num_words[:, None]):
        raise ValueError("`mask` must be True from the left end of each sentence to its last word, got one with holes")
    num_words, row_order = num_words.sort(descending=True, stable=True)
    if len(num_words) == 0 or num_words[-1] < 2:
        fewest = int(num_words[-1]) if len(num_words) else "no sentence at all"
        raise ValueError(f"sentences must hold at least <S> and </S>, 2 words, got {fewest}")

    lengths = num_words - 1
    steps = columns[: int(lengths[0])]
    is_real = steps < lengths[:, None]
    # (B, T) the word that each direction reads at each step.
    forward_words = steps.expand_as(is_real)
    backward_words = (lengths[:, None] - steps).clamp(min=0)
    sorted_ids = word_ids[row_order]
    sorted_mask = mask[row_order]

    # Words with the same characters can have different ids, where they are truncated.
    words = torch.cat([character_ids[row_order][sorted_mask], sorted_ids[sorted_mask][:, None]], dim=1)
    distinct, row_of_word = unique_rows(words)
    word_lengths, order = (distinct[:, :-1] != PADDING_ID).sum(dim=1).sort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    rows = torch.zeros_like(sorted_ids).masked_scatter(sorted_mask, rank[row_of_word])

    def at(values: Tensor, columns: Tensor) -> Tensor:
        return values.gather(1, columns).masked_fill(~is_real, 0)

    return LanguageModelBatch(
        characters=distinct[order, :-1].to(torch.int16),
        buckets=length_buckets(word_lengths.cpu().numpy()),
        word_ids=distinct[order, -1],
        forward_inputs=at(rows, forward_words),
        backward_inputs=at(rows, backward_words),
        forward_targets=at(sorted_ids, forward_words + 1),
        backward_targets=at(sorted_ids, (backward_words - 1).clamp(min=0)),
        lengths=lengths,
        batch_sizes=is_real.sum(dim=0).tolist(),
        carries_state=False,
        row_order=row_order,
    )
