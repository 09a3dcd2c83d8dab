"""The parts of AllenNLP's trainer, and its state that its own checkpoints leave out, or that it does not restore."""

from typing import Any

from allennlp.common.checks import ConfigurationError
from allennlp.training.callbacks import ConfidenceChecksCallback

from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel


def bilm_parts(trainer: Any, callback: str) -> tuple[BilmModel, BilmDataLoader]:
    """Return the model and the data loader of `trainer`, which the callback of the name `callback` needs.

    Raises:
        ConfigurationError: One of them is not "bilm".
    """
    model, loader = trainer.model, trainer.data_loader
    if not isinstance(model, BilmModel) or not isinstance(loader, BilmDataLoader):
        raise ConfigurationError(
            f'the callback "{callback}" needs the model and the data loader "bilm", '
            f"got a {type(model).__name__} and a {type(loader).__name__}"
        )
    return model, loader


def num_windows_of_step(trainer: Any, loader: BilmDataLoader) -> int:
    """Return over how many windows the current step sums gradients; the last step of an epoch may have fewer than the others."""
    steps = int(trainer._num_gradient_accumulation_steps)
    return min(steps, loader.num_batches(trainer._epochs_completed) - steps * trainer._batches_in_epoch_completed)


def trainer_state(trainer: Any) -> dict[str, Any]:
    """Return what AllenNLP's checkpoints leave out, for `restore_trainer_state`."""
    return {
        # AllenNLP has these too, but restores them before it restores the scheduler; see `restore_trainer_state`.
        "parameter_groups": [
            {name: value for name, value in group.items() if name != "params"}
            for group in trainer.optimizer.param_groups
        ],
        "frozen": [name for name, parameter in trainer.model.named_parameters() if not parameter.requires_grad],
        "validates_next": trainer._should_validate_this_epoch,
    }


def restore_trainer_state(trainer: Any, state: dict[str, Any]) -> None:
    """Restore what `trainer_state` returned, in a trainer that has restored its checkpoint and called each callback's `on_start`.

    - The parameter groups: the scheduler "combined" constructs its current scheduler anew when it is restored, which sets the
      learning rate (`CombinedLearningRateScheduler.load_state_dict`).
    - The frozen parameters: "slanted_triangular" with gradual unfreezing thaws them epoch by epoch (`SlantedTriangular.step`).
    - Whether the epoch is validated: the callback "should_validate_callback" decides it for epoch 0 at each start.
    - The end of AllenNLP's checks of the first batch: otherwise their hooks stay, and collect values at every batch of a resumed run
      (`ConfidenceChecksCallback.on_batch`).
    """
    for group, saved in zip(trainer.optimizer.param_groups, state["parameter_groups"], strict=True):
        group.update(saved)
    frozen = set(state["frozen"])
    for name, parameter in trainer.model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    trainer._should_validate_this_epoch = state["validates_next"]
    for callback in trainer._callbacks:
        if isinstance(callback, ConfidenceChecksCallback) and trainer._primary:
            callback._verification.destroy_hooks()


def restore_moving_average(trainer: Any) -> None:
    """Have the restored moving average follow the trainer's parameters again.

    `MovingAverage.load_state_dict` puts the checkpoint's copies of the parameters in their place, so that from then on the averages
    are those of copies that no optimizer changes, and validation and the best weights get nothing of them.
    """
    average = trainer._moving_average
    if average is None:
        return
    parameters = dict(trainer.model.named_parameters())
    saved_names = [name for name, _ in average._parameters]
    average._parameters = [[_name_in_model(name), parameters[_name_in_model(name)]] for name in saved_names]
    for values in (average._shadows, average._backups):
        for name in saved_names:
            # The checkpoint was read onto the CPU.
            values[_name_in_model(name)] = values.pop(name).to(parameters[_name_in_model(name)].device)


def _name_in_model(name: str) -> str:
    """Return the name of a parameter without the prefix that `DistributedDataParallel` adds."""
    return name.removeprefix("module.")
