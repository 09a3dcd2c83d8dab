"""A cell that is written as its recurrence alone gets state, projection, clip and dtype from the base of its layer."""

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.modules.recurrent.hidden_state import HiddenStateLayer
from allennlp_elmo_plus.options.bilm_options import LstmOptions


class DecayLayer(HiddenStateLayer):
    """h = decay * h + x at each step."""

    def create_recurrence(self) -> None:
        self.decay = nn.Parameter(torch.zeros(self.hidden_size))

    def reset_recurrence(self) -> None:
        nn.init.constant_(self.decay, 0.5)

    def recur(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor) -> tuple[Tensor, Tensor]:
        states = []
        for step_inputs in inputs.split(batch_sizes):
            num_rows = len(step_inputs)
            states.append(self.decay * hidden[:num_rows] + step_inputs.mean(dim=1, keepdim=True))
            hidden = torch.cat([states[-1], hidden[num_rows:]])
        return torch.cat(states), hidden


def test_a_recurrence_is_projected_and_clipped_and_rows_that_have_ended_keep_their_state() -> None:
    layer = DecayLayer.from_options(LstmOptions(3, 2, proj_clip=0.5))
    assert [name for name, _ in layer.named_parameters()] == ["projection", "decay"]
    assert not any(parameter.any() for parameter in layer.parameters())
    layer.reset_parameters()
    assert (layer.decay == 0.5).all() and layer.projection.all()
    layer.projection.data.fill_(0.1)
    hidden = torch.tensor([[1.0] * 3, [2.0] * 3, [4.0] * 3])
    outputs, last, cell = layer(torch.ones(3, 2), [2, 1], hidden, torch.zeros(3, 0))
    # The states are 1.5 and 2 after the first step, 1.75 after the second one.
    torch.testing.assert_close(outputs[:, 0], torch.tensor([0.45, 0.5, 0.5]))
    assert last[:, 0].tolist() == [1.75, 2.0, 4.0] and cell.shape == (3, 0)


def test_the_recurrence_runs_in_the_type_of_its_weights() -> None:
    layer = DecayLayer(2, 3).bfloat16()
    outputs, last, _ = layer(torch.ones(2, 2), [2], torch.ones(3, 3), torch.zeros(3, 0))
    assert outputs.dtype == last.dtype == torch.bfloat16
