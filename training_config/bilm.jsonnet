// A biLM for a laptop: some minutes on two CPU cores for a corpus of a few hundred thousand words.
local options = import 'lib/options.libsonnet';
local pretraining = import 'lib/pretraining.libsonnet';

local filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]];

pretraining(
  options(dim=512, projection_dim=128, filters=filters, n_highway=1) {
    batch_size: 32,
    n_epochs: 4,
    n_negative_samples_batch: 1024,
  },
  train='data/train.txt',
  heldout='data/heldout.txt',
  vocabulary={ min_count: 2 },
  patience=2,
)
