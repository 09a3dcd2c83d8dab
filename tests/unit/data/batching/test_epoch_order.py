import numpy as np

from allennlp_elmo_plus.data.batching.epoch_order import Purpose, random_generator


def test_seeds_stay_the_same_for_checkpoints_of_earlier_versions():
    purposes = [
        "LANE_PLAN_BLOCKS",
        "NEGATIVES",
        "LANE_PLAN_SENTENCES",
        "SENTENCE_PLAN_BLOCKS",
        "SENTENCE_PLAN_SENTENCES",
        "SENTENCE_PLAN_BATCHES",
    ]
    assert [purpose.name for purpose in sorted(Purpose)] == purposes
    numbers = random_generator(13370, Purpose.LANE_PLAN_SENTENCES, 3, 41).integers(0, 2**62, 4)
    assert np.array_equal(numbers, np.random.default_rng([13370, 2, 3, 41]).integers(0, 2**62, 4))
