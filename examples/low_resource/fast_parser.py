"""Two modules of AllenNLP's parser, computed faster on a CPU: the same parameters, the same values, the same gradients."""

from itertools import accumulate
from typing import Any, Optional

import torch
from allennlp.modules.augmented_lstm import AugmentedLstm
from allennlp.nn.util import get_dropout_mask
from torch import Tensor
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence


def speed_up(model: torch.nn.Module) -> None:
    """Replace how `model` computes its `Bilinear` modules and its highway LSTMs; its parameters stay."""
    for module in model.modules():
        if type(module) is torch.nn.Bilinear:
            module.__class__ = FastBilinear
        elif type(module) is AugmentedLstm and module.use_highway:
            module.__class__ = FastHighwayLstm


class FastBilinear(torch.nn.Bilinear):
    """PyTorch's `Bilinear` as two matrix products, without a tensor of all products of two values for each pair of vectors."""

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return the values (..., O) of pairs of vectors (..., I) and (..., J)."""
        products = linear(input1, self.weight.transpose(1, 2).flatten(0, 1)).unflatten(-1, (self.out_features, -1))
        return (products @ input2.unsqueeze(-1)).squeeze(-1) + self.bias


class FastHighwayLstm(AugmentedLstm):
    """AllenNLP's highway LSTM of one direction, with one product for the gradients of its weights instead of one per step."""

    def forward(
        self, inputs: PackedSequence, states: Optional[tuple[Tensor, Tensor]] = None
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]:
        """Return the outputs (N, H) of packed inputs (N, I), and the states after the last step, through which no gradient goes."""
        assert states is None, "AllenNLP's encoders that are not stateful give no states"
        batch_sizes = inputs.batch_sizes.tolist()
        zeros = inputs.data.new_zeros(batch_sizes[0], self.lstm_dim)
        has_dropout = self.training and self.recurrent_dropout_probability > 0
        mask = get_dropout_mask(self.recurrent_dropout_probability, zeros) if has_dropout else torch.ones_like(zeros)
        outputs, *final = _HighwayLstmSteps.apply(
            self.cell.input_linearity(inputs.data),
            self.cell.state_linearity.weight,
            self.cell.state_linearity.bias,
            mask.type_as(zeros),
            batch_sizes if self.go_forward else batch_sizes[::-1],
            self.go_forward,
        )
        return inputs._replace(data=outputs), (final[0].unsqueeze(0), final[1].unsqueeze(0))


class _HighwayLstmSteps(torch.autograd.Function):
    """All steps of a highway LSTM: i, f, g, o, r = act(W x + U (mask * h) + b); c' = i g + f c; h' = r o tanh(c') + (1 - r) W_h x."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        weight: Tensor,
        bias: Tensor,
        mask: Tensor,
        batch_sizes: list[int],
        go_forward: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs (N, H), and the hidden states and cells (B, H) after the last step.

        Args:
            projected: W x of the five gates, and W_h x: (N, 6 * H), packed by time.
            batch_sizes: The number of rows of each step, in the order in which the steps run.
        """
        size, num_rows = mask.shape[1], len(projected)
        gates, recurrent = projected[:, : 5 * size].clone(), mask.new_empty(num_rows, size)
        outputs, cells, previous = torch.empty_like(recurrent), torch.empty_like(recurrent), torch.empty_like(recurrent)
        hidden, cell = torch.zeros_like(mask), torch.zeros_like(mask)
        starts = _starts(batch_sizes, go_forward)
        for start, rows in zip(starts, batch_sizes, strict=True):
            step = slice(start, start + rows)
            torch.mul(hidden[:rows], mask[:rows], out=recurrent[step])
            previous[step] = cell[:rows]
            gate = gates[step].add_(torch.addmm(bias, recurrent[step], weight.t()))
            gate[:, : 2 * size].sigmoid_()
            gate[:, 2 * size : 3 * size].tanh_()
            gate[:, 3 * size :].sigmoid_()
            i, f, g, o, r = gate.split(size, 1)
            torch.addcmul(i * g, f, previous[step], out=cell[:rows])
            cells[step] = cell[:rows]
            torch.lerp(projected[step, 5 * size :], o * cell[:rows].tanh(), r, out=hidden[:rows])
            outputs[step] = hidden[:rows]
        ctx.save_for_backward(weight, mask, gates, recurrent, cells, previous, projected[:, 5 * size :])
        ctx.steps = list(zip(starts, batch_sizes, strict=True))
        ctx.mark_non_differentiable(hidden, cell)
        return outputs, hidden, cell

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor, *_: Tensor) -> tuple[Optional[Tensor], ...]:
        """Return the gradients of `projected`, `weight` and `bias`."""
        weight, mask, gates, recurrent, cells, previous, highway = ctx.saved_tensors
        size = mask.shape[1]
        grads = gates.new_empty(len(gates), 6 * size)
        grad_hidden, grad_cell = torch.zeros_like(mask), torch.zeros_like(mask)
        for start, rows in reversed(ctx.steps):
            step = slice(start, start + rows)
            i, f, g, o, r = gates[step].split(size, 1)
            grad_i, grad_f, grad_g, grad_o, grad_r, grad_highway = grads[step].split(size, 1)
            grad, dc, t = grad_outputs[step] + grad_hidden[:rows], grad_cell[:rows], cells[step].tanh()
            torch.mul(grad, 1 - r, out=grad_highway)
            torch.mul(grad * (o * t - highway[step]), r * (1 - r), out=grad_r)
            grad = grad * r
            torch.mul(grad * t, o * (1 - o), out=grad_o)
            dc.add_(grad * o * (1 - t * t))
            torch.mul(dc * g, i * (1 - i), out=grad_i)
            torch.mul(dc * i, 1 - g * g, out=grad_g)
            torch.mul(dc * previous[step], f * (1 - f), out=grad_f)
            dc.mul_(f)
            torch.mul(grads[step, : 5 * size] @ weight, mask[:rows], out=grad_hidden[:rows])
        grad_gates = grads[:, : 5 * size]
        return grads, grad_gates.t() @ recurrent, grad_gates.sum(0), None, None, None


def _starts(batch_sizes: list[int], go_forward: bool) -> list[int]:
    """Return the first row of each step in a packed sequence."""
    in_order = batch_sizes if go_forward else batch_sizes[::-1]
    starts = [0, *accumulate(in_order[:-1])]
    return starts if go_forward else starts[::-1]
