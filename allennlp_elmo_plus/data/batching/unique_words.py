"""The distinct words of a batch."""

import torch
from torch import Tensor


def unique_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows of integers `rows` (M, C): (U, C) in no particular order, and for each row which of them it is,
    (M,).

    Rows are compared by a 64-bit hash, sorted far faster than whole rows are; should two different rows share a hash,
    whole rows are sorted after all, so that the result is always exact.
    """
    rows = rows.to(torch.int64)
    if len(rows) == 0:
        return rows, rows.new_zeros(0)
    # Powers of an odd number, wrapping around 2**64: fixed, so that nothing depends on the state of a generator.
    powers = [pow(0x9E3779B97F4A7C15, column + 1, 2**64) for column in range(rows.shape[1])]
    weights = torch.tensor([power - 2**64 if power >= 2**63 else power for power in powers], device=rows.device)
    hashes, inverse = torch.unique((rows * weights).sum(dim=1), return_inverse=True)
    sample = torch.empty_like(hashes).scatter_(0, inverse, torch.arange(len(rows), device=rows.device))
    distinct = rows[sample]
    if not torch.equal(distinct[inverse], rows):
        distinct, inverse = torch.unique(rows, dim=0, return_inverse=True)
    return distinct, inverse
