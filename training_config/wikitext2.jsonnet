// WikiText-2 with the settings of a bilm-tf run, to compare held-out perplexities. Name the text, one sentence per line, with
//   -o '{"train_data_path": "train.txt", "validation_data_path": "heldout.txt"}'
local options = import 'lib/options.libsonnet';
local pretraining = import 'lib/pretraining.libsonnet';

local filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]];

pretraining(
  options(dim=512, projection_dim=128, filters=filters, n_highway=1) {
    batch_size: 32,
    n_epochs: 2,
    n_negative_samples_batch: 1024,
  },
  train='data/train.txt',
  heldout='data/heldout.txt',
  vocabulary={ min_count: 2 },
)
