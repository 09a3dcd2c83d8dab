// The settings of all published models: the 1 Billion Word benchmark, 10 epochs, batches of 128 lanes (on each of 3 GPUs in the
// original), 8,192 negative samples.
local filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]];
local options = import 'options.libsonnet';
local pretraining = import 'pretraining.libsonnet';

function(dim, projection_dim, n_highway)
  pretraining(
    options(dim, projection_dim, filters, n_highway) {
      batch_size: 128,
      n_epochs: 10,
      n_negative_samples_batch: 8192,
    },
    train='data/train.txt',
    heldout='data/heldout.txt',
  )
