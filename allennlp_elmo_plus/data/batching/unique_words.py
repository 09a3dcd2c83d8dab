"""Find the distinct words of a batch."""

import torch
from torch import Tensor


def unique_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of integers `rows` (M, C) in arbitrary order, (U, C), and the index of each row among them, (M,).

    Rows are compared by a 64-bit hash, because hashes are sorted much faster than whole rows. If two different rows have the same
    hash, whole rows are sorted, so the result is always exact.
    """
    rows = rows.to(torch.int64)
    if len(rows) == 0:
        return rows, rows.new_zeros(0)
    # Powers of an odd number modulo 2**64, not random numbers: the order of the rows must not depend on a generator.
    powers = [pow(0x9E3779B97F4A7C15, column + 1, 2**64) for column in range(rows.shape[1])]
    weights = torch.tensor([power - 2**64 if power >= 2**63 else power for power in powers], device=rows.device)
    hashes, inverse = torch.unique((rows * weights).sum(dim=1), return_inverse=True)
    row_of_hash = torch.empty_like(hashes).scatter_(0, inverse, torch.arange(len(rows), device=rows.device))
    distinct = rows[row_of_hash]
    if not torch.equal(distinct[inverse], rows):
        distinct, inverse = torch.unique(rows, dim=0, return_inverse=True)
    return distinct, inverse
