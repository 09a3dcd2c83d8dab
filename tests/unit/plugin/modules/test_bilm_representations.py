"""Layer mixes, compared with AllenNLP's `Elmo` and `ScalarMix` and with bilm-tf's formula."""

from typing import Any, Optional

import pytest
import torch
from allennlp.common import FromParams, Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.data.data_loaders import SimpleDataLoader
from allennlp.models import Model
from allennlp.modules.elmo import Elmo
from allennlp.modules.scalar_mix import ScalarMix
from allennlp.training import GradientDescentTrainer
from torch import Tensor

from allennlp_elmo_plus.plugin.modules.bilm_representations import BilmRepresentations
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.exported_bilm import BATCHES, close, ids_of

IDS = ids_of(BATCHES[0])


def weight_layers(
    layers: Tensor,
    mask: Tensor,
    raw_weights: Optional[Tensor] = None,
    gamma: float = 1.0,
    use_top_only: bool = False,
    do_layer_norm: bool = False,
    l2_coef: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """
    Compute bilm-tf's formula.

    Args:
        layers: (L + 1, B, T, output size).
        mask: (B, T).

    Returns:
        The mix, (B, T, output size), and the penalty on its weights.
    """
    num_layers = len(layers)
    if use_top_only:
        return gamma * layers[-1], torch.zeros(())
    raw_weights = torch.zeros(num_layers) if raw_weights is None else raw_weights
    exponentials = torch.exp(raw_weights + 1 / num_layers)
    total = torch.zeros_like(layers[0])
    for weight, layer in zip(exponentials / exponentials.sum(), layers, strict=True):
        if do_layer_norm:
            values = layer[mask]
            mean = values.mean()
            variance = ((values - mean) ** 2).mean()
            layer = (layer - mean) / torch.sqrt(variance + 1e-12)
        total = total + weight * layer
    return gamma * total, l2_coef * (raw_weights**2).sum()


def layers_of(module: BilmRepresentations, boundaries: bool = False) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        layers, layout, _ = module._encoder(IDS)
        mask = layout.unpack(torch.ones(len(layers[0]), 1), boundaries).squeeze(-1) > 0
        return torch.stack([layout.unpack(layer, boundaries) for layer in layers]), mask


def set_random_weights(mix: ScalarMix, seed: int) -> tuple[Tensor, float]:
    """Set the trainable parameters of `mix` to random values. Return the weights and gamma."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mix.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(1, generator=generator))
    return torch.cat(list(mix.scalar_parameters)).detach(), mix.gamma.item()


@pytest.mark.parametrize("boundaries", [False, True])
@pytest.mark.parametrize("do_layer_norm", [False, True])
def test_representations_are_those_of_allennlps_elmo(
    files: dict[str, str], boundaries: bool, do_layer_norm: bool
) -> None:
    arguments = (files["options_file"], files["weight_file"], 3, False, do_layer_norm, 0.3, None, boundaries)
    ours, theirs = BilmRepresentations(*arguments).eval(), Elmo(*arguments).eval()
    for number in range(3):
        set_random_weights(getattr(theirs, f"scalar_mix_{number}"), number)
    mixes = {name: value for name, value in theirs.state_dict().items() if name.startswith("scalar_mix_")}
    assert not ours.load_state_dict(mixes, strict=False).unexpected_keys and len(mixes) == 12
    output, expected = ours(IDS), theirs(IDS)
    assert set(output) == set(expected) and len(output["elmo_representations"]) == 3
    assert torch.equal(output["mask"], expected["mask"]) and output["mask"].dtype == torch.bool
    for vectors, reference in zip(output["elmo_representations"], expected["elmo_representations"], strict=True):
        # With layer normalisation, AllenNLP's vectors are not zero at padding; they are masked here.
        close(vectors, reference * expected["mask"].unsqueeze(-1))
    assert ours.get_output_dim() == theirs.get_output_dim()


def test_each_representation_has_its_own_dropout_as_in_allennlps_elmo(files: dict[str, str]) -> None:
    outputs = []
    for module in (BilmRepresentations, Elmo):
        representations = module(files["options_file"], files["weight_file"], 2)
        torch.manual_seed(3)
        outputs.append(representations(IDS)["elmo_representations"])
    for ours, theirs in zip(*outputs, strict=True):
        close(ours, theirs)
    assert (outputs[0][0] != outputs[0][1]).any()


def test_ids_may_have_more_dimensions_as_in_allennlps_elmo(files: dict[str, str]) -> None:
    arguments = (files["options_file"], files["weight_file"], 2)
    ours, theirs = BilmRepresentations(*arguments).eval(), Elmo(*arguments).eval()
    ids = ids_of(BATCHES[2])
    stacked = ids.view(2, 3, *ids.shape[1:])
    output, expected = ours(stacked), theirs(stacked)
    assert torch.equal(output["mask"], expected["mask"])
    for vectors, reference in zip(output["elmo_representations"], expected["elmo_representations"], strict=True):
        close(vectors, reference)


def test_the_bilm_runs_once_and_each_mix_has_its_own_gradient(files: dict[str, str]) -> None:
    module = BilmRepresentations(**files, num_output_representations=2, dropout=0.0)
    calls = []
    module._encoder.register_forward_hook(lambda *arguments: calls.append(arguments))
    first, second = module(IDS)["elmo_representations"]
    assert len(calls) == 1
    first.sum().backward()
    assert module.scalar_mix_0.gamma.grad is not None and module.scalar_mix_1.gamma.grad is None
    second.square().sum().backward()
    assert module.scalar_mix_1.gamma.grad is not None


@pytest.mark.parametrize(
    "arguments, formula",
    [
        ({}, {}),
        ({"use_gamma": False}, {}),
        ({"use_top_only": True}, {"use_top_only": True}),
        ({"use_top_only": True, "use_gamma": False}, {"use_top_only": True}),
        ({"use_average": True}, {}),
        ({"use_average": True, "use_gamma": False}, {}),
        ({"scalar_mix_parameters": [0.3, -1.0, 2.0]}, {}),
        ({"do_layer_norm": True, "keep_sentence_boundaries": True}, {"do_layer_norm": True}),
    ],
)
def test_representations_are_those_of_bilm_tfs_formula(
    files: dict[str, str], arguments: dict[str, Any], formula: dict[str, Any]
) -> None:
    module = BilmRepresentations(**files, dropout=0.0, num_output_representations=2, **arguments).eval()
    # Layer normalisation in bilm-tf includes the sentence boundaries.
    layers, mask = layers_of(module, "do_layer_norm" in arguments)
    for number in range(2):
        mix = getattr(module, f"scalar_mix_{number}")
        raw_weights, gamma = set_random_weights(mix, number)
        vectors = module(IDS)["elmo_representations"][number]
        expected, _ = weight_layers(layers, mask, raw_weights, gamma, **formula)
        close(vectors[mask], expected[mask], 1e-5)
        if "use_average" in arguments:
            close(vectors[mask], gamma * layers.mean(0)[mask], 1e-6)
        trained = gamma != 1.0
        assert trained == (arguments.get("use_gamma", True) and "scalar_mix_parameters" not in arguments)


@pytest.mark.parametrize("do_layer_norm", [False, True])
def test_the_mix_is_that_of_allennlps_scalar_mix(files: dict[str, str], do_layer_norm: bool) -> None:
    module = BilmRepresentations(**files, dropout=0.0, do_layer_norm=do_layer_norm).double().eval()
    set_random_weights(module.scalar_mix_0, 1)
    mix = ScalarMix(3, do_layer_norm).double()
    mix.load_state_dict(module.scalar_mix_0.state_dict())
    layers, mask = layers_of(module, boundaries=True)
    (vectors,) = module(IDS)["elmo_representations"]
    for row, sentence in enumerate(BATCHES[0]):
        expected = mix(list(layers), mask)[row, 1 : 1 + len(sentence)]
        torch.testing.assert_close(vectors[row, : len(sentence)], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "arguments, weights, gamma",
    [
        ({}, True, True),
        ({"use_gamma": False}, True, False),
        ({"use_top_only": True}, False, True),
        ({"use_average": True}, False, True),
        ({"use_average": True, "use_gamma": False}, False, False),
        ({"scalar_mix_parameters": [1.0, 2.0, 3.0]}, False, False),
    ],
)
@pytest.mark.parametrize("make", [BilmRepresentations, BilmTokenEmbedder])
def test_arguments_determine_which_parameters_of_the_mix_are_trained(
    files: dict[str, str], make: type, arguments: dict[str, Any], weights: bool, gamma: bool
) -> None:
    is_trained = {name: parameter.requires_grad for name, parameter in make(**files, **arguments).named_parameters()}
    assert {is_trained[name] for name in is_trained if "scalar_parameters" in name} == {weights}
    assert [is_trained[name] for name in is_trained if name.endswith("scalar_mix_0.gamma")] == [gamma]


@pytest.mark.parametrize("make", [BilmRepresentations, BilmTokenEmbedder])
@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"use_top_only": True, "use_average": True},
            "at most one of `scalar_mix_parameters`, `use_top_only`, `use_average` may be given, "
            "got `use_top_only` and `use_average`",
        ),
        ({"use_average": True, "scalar_mix_parameters": [0.0] * 3}, "got `scalar_mix_parameters` and `use_average`"),
        ({"use_top_only": True, "do_layer_norm": True}, "`do_layer_norm` must be left out with `use_top_only`"),
    ],
)
def test_contradicting_arguments_are_refused(files: dict[str, str], make: type, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(**files, **arguments)


def test_a_mix_can_be_replaced_as_in_allennlps_elmo(files: dict[str, str]) -> None:
    ours = BilmRepresentations(**files, dropout=0.0)
    theirs = Elmo(**files, num_output_representations=1, dropout=0.0)
    for module in (ours, theirs):
        module.scalar_mix_0 = ScalarMix(3, initial_scalar_parameters=[5.0, -5.0, 1.0], trainable=False)
    close(ours(IDS)["elmo_representations"][0], theirs(IDS)["elmo_representations"][0], 1e-5)


def test_zero_representations_are_refused(files: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="`num_output_representations` must be at least 1, got 0"):
        BilmRepresentations(**files, num_output_representations=0)


class UserModule(torch.nn.Module, FromParams):
    """A module of a user, with BilmRepresentations as an argument."""

    def __init__(self, elmo: BilmRepresentations) -> None:
        super().__init__()
        self.elmo = elmo


def test_representations_can_be_made_from_a_config(files: dict[str, str]) -> None:
    module = UserModule.from_params(Params({"elmo": {**files, "num_output_representations": 2}}))
    assert isinstance(module.elmo, BilmRepresentations) and len(module.elmo(IDS)["elmo_representations"]) == 2
    with pytest.raises(ConfigurationError, match="has no option `num_representations`: did you mean `num_output_repr"):
        UserModule.from_params(Params({"elmo": {**files, "num_representations": 2}}))


def tagger(files: dict[str, str], alpha: Optional[float], **arguments: Any) -> Model:
    elmo = {"type": "bilm", **files, "dropout": 0.0, **arguments}
    config: dict[str, Any] = {
        "type": "simple_tagger",
        "text_field_embedder": {"token_embedders": {"elmo": elmo}},
        "encoder": {"type": "pass_through", "input_dim": 16},
    }
    if alpha is not None:
        l2 = {"type": "l2", "alpha": alpha}
        config["regularizer"] = {"regexes": [["scalar_mix_.*scalar_parameters", l2]]}
    torch.manual_seed(0)
    return Model.from_params(Params(config), vocab=Vocabulary({"labels": {"a": 1, "b": 1}}))


def training_loss(model: Model, for_training: bool = True) -> Tensor:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = GradientDescentTrainer(model, optimizer, SimpleDataLoader([], batch_size=1), cuda_device=-1)
    batch = {"tokens": {"elmo": {"elmo_tokens": IDS}}, "tags": torch.zeros(IDS.shape[:2], dtype=torch.int64)}
    return trainer.batch_outputs(batch, for_training)["loss"]


def test_allennlps_l2_regularizer_of_the_weights_is_bilm_tfs_penalty(files: dict[str, str]) -> None:
    """The penalty is added to the loss of a downstream model in training."""
    losses, gradients = [], []
    for alpha in (None, 0.07):
        model = tagger(files, alpha)
        mix = model.text_field_embedder.token_embedder_elmo._elmo.scalar_mix_0
        raw_weights, gamma = set_random_weights(mix, 5)
        loss = training_loss(model)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([parameter.grad for parameter in mix.scalar_parameters]))
    _, penalty = weight_layers(torch.zeros(3, 1, 1, 1), torch.ones(1, 1).bool(), raw_weights, gamma, l2_coef=0.07)
    assert losses[1] - losses[0] == pytest.approx(penalty.item(), rel=1e-4) and penalty > 0.05
    torch.testing.assert_close(gradients[1] - gradients[0], 2 * 0.07 * raw_weights, rtol=1e-4, atol=1e-6)
    assert training_loss(model, for_training=False).item() == pytest.approx(losses[0], rel=1e-6)


def test_with_use_top_only_the_penalty_is_zero(files: dict[str, str]) -> None:
    model = tagger(files, 0.07, use_top_only=True)
    assert model.get_regularization_penalty().item() == 0
