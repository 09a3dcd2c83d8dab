// A biLM for a laptop. Training on a few hundred thousand words takes some minutes on two CPU cores.
local options = import 'lib/options.libsonnet';
local pretraining = import 'lib/pretraining.libsonnet';

local filters = [[1, 16], [2, 32], [3, 64], [4, 144]];

pretraining(
  options(dim=256, projection_dim=64, filters=filters, n_highway=1) {
    batch_size: 32,
    n_epochs: 2,
    n_negative_samples_batch: 512,
  },
  train='data/train.txt',
  heldout='data/heldout.txt',
  vocabulary={ min_count: 2 },
)
