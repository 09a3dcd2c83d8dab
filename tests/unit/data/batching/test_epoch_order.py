import numpy as np

from allennlp_elmo_plus.data.batching.epoch_order import Purpose, random_generator


def test_seeds_stay_the_same_for_checkpoints_of_earlier_versions():
    purposes = [
        "LANES_BLOCKS",
        "NEGATIVES",
        "LANES_IN_BLOCK",
        "SENTENCES_BLOCKS",
        "SENTENCES_IN_BLOCK",
        "SENTENCES_BATCHES",
    ]
    assert [purpose.name for purpose in sorted(Purpose)] == purposes
    numbers = random_generator(13370, Purpose.LANES_IN_BLOCK, 3, 41).integers(0, 2**62, 4)
    assert np.array_equal(numbers, np.random.default_rng([13370, 2, 3, 41]).integers(0, 2**62, 4))
