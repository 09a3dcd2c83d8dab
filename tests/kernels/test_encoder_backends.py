"""The compiled loops of the character encoder in float32, products included, against double precision."""

from types import ModuleType
from typing import Any, Optional

import pytest
import torch
from torch import Tensor, nn

from allennlp_elmo_plus.kernels import backend as compiled
from allennlp_elmo_plus.kernels.char_conv import conv_max_pool as char_maxima
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.highway import Highway
from tests.unit.modules.test_char_cnn import encode

WAYS = ["one loop", "loops between products", "no loop"]


@pytest.fixture
def set_way(monkeypatch: pytest.MonkeyPatch, way: str) -> list[str]:
    """What computes with one thread, with several, and without numba. Gives the modules of loops that were asked for."""
    asked: list[str] = []
    real = compiled.loops_for

    def loops_for(tensor: Tensor, module: str) -> Optional[ModuleType]:
        found = None if way == "no loop" else real(tensor, module)
        asked.extend([module] if found is not None else [])
        return found

    for user in (compiled, char_maxima):
        monkeypatch.setattr(user, "loops_for", loops_for)
    if way == "loops between products":
        monkeypatch.setattr(char_maxima, "loops_for_one_thread", lambda *_: None)
    return asked


def run(module: nn.Module, dtype: torch.dtype, *inputs: Any) -> list[Tensor]:
    """Output and gradients, those of inputs in floating point too."""
    module = module.to(dtype)
    given = [each.to(dtype).requires_grad_() if each.is_floating_point() else each for each in inputs]
    output = module(*given)
    wanted = [each for each in (*given, *module.parameters()) if each.requires_grad]
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return [output.detach(), *torch.autograd.grad((output * weights.to(dtype)).sum(), wanted)]


def assert_follows(ours: list[Tensor], expected: list[Tensor]) -> None:
    for found, wanted in zip(ours, expected, strict=True):
        assert found.dtype == torch.float
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5 * max(1, wanted.abs().max().item()))


@pytest.mark.parametrize("dim, rows", [(32, 1), (64, 21), (96, 600), (40, 9)])
def test_highway(dim: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(2)
    module = Highway(dim, 2)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=dim**-0.5, generator=generator)
    inputs = torch.randn(rows, dim, generator=generator)
    assert_follows(run(module, torch.float, inputs), run(module, torch.double, inputs))


@pytest.mark.parametrize("trained", ["carry_weights.0", "carry_biases.0", "transform_weights.0", "transform_biases.0"])
def test_highway_gives_the_gradients_that_are_wanted_and_no_others(trained: str) -> None:
    module, inputs = Highway(32, 1), torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    module(inputs).sum().backward()
    expected = module.get_parameter(trained).grad
    module.zero_grad()
    module.requires_grad_(False).get_parameter(trained).requires_grad_(True)
    module(inputs).sum().backward()
    assert {name for name, each in module.named_parameters() if each.grad is not None} == {trained}
    assert torch.equal(module.get_parameter(trained).grad, expected)


def test_highway_sees_to_what_is_not_a_number() -> None:
    module, inputs = Highway(32, 1), torch.zeros(4, 32)
    inputs[2, 5] = float("nan")
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    assert module(inputs).isnan().any(dim=1).tolist() == [False, False, True, False]
    module.transform_weights[0].data[5, 3] = float("nan")
    assert module(torch.zeros(4, 32)).isnan().nonzero().tolist() == [[row, 3] for row in range(4)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("filters", [[[1, 3], [2, 40]], [[1, 32], [3, 64]], [[2, 70], [5, 130], [1, 1]]])
@pytest.mark.parametrize("num_words", [3, 160])
def test_cnn(set_way: list[str], way: str, filters: list[list[int]], num_words: int) -> None:
    """Windows of one part and of several, filters of one part and of several, panels filled and not."""
    generator = torch.Generator().manual_seed(3)
    letters = torch.randint(0, 26, (num_words, 12), generator=generator).tolist()
    words = ["".join(chr(97 + letter) for letter in word[: 1 + number % 12]) for number, word in enumerate(letters)]
    module = CharacterCNN(5, filters, "tanh", 20)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    characters = encode(words, 20)
    assert_follows(run(module, torch.float, characters), run(module, torch.double, characters))
    assert ("char_conv._numba_kernels" in set_way) == (way != "no loop")
    expected = run(module, torch.float, characters)[0]
    with torch.no_grad():
        assert torch.equal(module(characters), expected)


def test_highway_refuses_inputs_of_another_width() -> None:
    for width in (16, 64):
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            Highway(32, 1)(torch.zeros(4, width))
