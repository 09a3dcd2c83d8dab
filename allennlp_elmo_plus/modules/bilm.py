"""Two independent stacks of recurrent layers, one per reading direction."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.kernels.dropout.dropout import dropout
from allennlp_elmo_plus.kernels.dtypes import widest_dtype
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer, RecurrentOutput


class BiLMState(NamedTuple):
    """The recurrent state of all layers between two windows. Directions are forward, then backward if there is one."""

    hidden: Tensor  # (directions, L, B, hidden_size); an LSTM's hidden_size is D
    cell: Tensor  # (directions, L, B, cell_size); cell_size is 0 for cells without a memory cell

    def detach(self) -> "BiLMState":
        """Return the same values outside of autograd's graph."""
        return BiLMState(self.hidden.detach(), self.cell.detach())


class BiLMOutput(NamedTuple):
    """The outputs of all layers, packed, in each direction's own reading order, and the state after the last step."""

    forward: list[Tensor]  # L times (N, D)
    backward: Optional[list[Tensor]]  # L times (N, D)
    state: BiLMState


class BiLM(nn.Module):
    """The recurrent part of a bidirectional language model (Peters et al. 2018, section 3.1): L layers per direction.

    The directions share nothing, so that neither sees the words it predicts.

    Args:
        forward_layers: L layers of one class.
        backward_layers: L layers of the same class; empty for a forward-only model.
        use_skip_connections: Whether the input of each layer but the first is added to its output. The recurrent state excludes the
            sum.
        dropout_prob: Dropout on the input of each layer, drawn anew at every step. A skip connection adds the input after dropout,
            as in bilm-tf.

    Attributes:
        output_size: D, the width of one direction.
    """

    def __init__(
        self,
        forward_layers: Sequence[RecurrentLayer],
        backward_layers: Sequence[RecurrentLayer],
        use_skip_connections: bool = True,
        dropout_prob: float = 0.0,
    ) -> None:
        super().__init__()
        self.forward_layers = nn.ModuleList(forward_layers)
        self.backward_layers = nn.ModuleList(backward_layers)
        self.output_size = forward_layers[0].output_size
        self.hidden_size = forward_layers[0].hidden_size
        self.cell_size = forward_layers[0].cell_size
        self.use_skip_connections = use_skip_connections
        self.dropout_prob = dropout_prob

    @property
    def is_bidirectional(self) -> bool:
        """Return whether there is a backward direction."""
        return len(self.backward_layers) > 0

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        for layer in [*self.forward_layers, *self.backward_layers]:
            layer.reset_parameters()  # type: ignore[operator]

    def zero_state(self, num_rows: int) -> BiLMState:
        """Return a state of zeros for `num_rows` rows, in the weights' type, float32 or wider."""
        device, dtype = next(self.parameters()).device, widest_dtype(self.parameters())
        shape = (1 + self.is_bidirectional, len(self.forward_layers), num_rows)
        return BiLMState(
            torch.zeros(*shape, self.hidden_size, dtype=dtype, device=device),
            torch.zeros(*shape, self.cell_size, dtype=dtype, device=device),
        )

    def forward(
        self,
        forward_inputs: Tensor,
        backward_inputs: Optional[Tensor],
        batch_sizes: list[int],
        state: Optional[BiLMState] = None,
    ) -> BiLMOutput:
        """Return the outputs of all layers, and the state after the last step.

        Args:
            forward_inputs: Packed time-major, (N, D).
            backward_inputs: Likewise, (N, D), in the backward reading order: step t holds the t-th word from a row's end.
            batch_sizes: Rows that run at each step.
            state: The state before the first step, of at least batch_sizes[0] rows; zeros where it is None. Rows that run no step
                are returned unchanged.

        Raises:
            ValueError: `backward_inputs` is missing for a bidirectional model.
        """
        if state is None:
            state = self.zero_state(batch_sizes[0] if batch_sizes else 0)
        stacks, inputs = [self.forward_layers], [forward_inputs]
        if self.is_bidirectional:
            if backward_inputs is None:
                raise ValueError("`backward_inputs` must be given to a bidirectional model, got None")
            stacks, inputs = [*stacks, self.backward_layers], [forward_inputs, backward_inputs]
        outputs: list[list[Tensor]] = [[] for _ in inputs]
        results: list[list[RecurrentOutput]] = [[] for _ in inputs]
        for index, layers in enumerate(zip(*stacks, strict=True)):
            inputs = [dropout(direction, self.dropout_prob, self.training) for direction in inputs]
            layer_results = layers[0].run_directions(
                layers, inputs, batch_sizes, state.hidden[:, index].unbind(), state.cell[:, index].unbind()
            )
            adds_inputs = index > 0 and self.use_skip_connections
            inputs = [
                result.outputs + direction if adds_inputs else result.outputs
                for result, direction in zip(layer_results, inputs, strict=True)
            ]
            for d, result in enumerate(layer_results):
                outputs[d].append(inputs[d])
                results[d].append(result)
        hidden = torch.stack([torch.stack([result.hidden for result in direction]) for direction in results])
        cell = torch.stack([torch.stack([result.cell for result in direction]) for direction in results])
        new_state = BiLMState(hidden.to(widest_dtype([hidden])), cell.to(widest_dtype([cell])))
        return BiLMOutput(outputs[0], outputs[1] if self.is_bidirectional else None, new_state)
