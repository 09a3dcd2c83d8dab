// Batches of single sentences instead of running text. They have similar lengths, and each is read from a state of zeros, in training
// and evaluation. Use it for text whose lines are unrelated, and for a biLM that embeds single sentences.
//   -o '{"train_data_path": "train.txt", "validation_data_path": "heldout.txt"}'
local options = import 'lib/options.libsonnet';
local pretraining = import 'lib/pretraining.libsonnet';

local filters = [[1, 16], [2, 32], [3, 64], [4, 144]];
local config = pretraining(
  options(dim=256, projection_dim=64, filters=filters, n_highway=1) {
    batch_size: 32,
    n_epochs: 2,
    n_negative_samples_batch: 512,
  },
  train='data/train.txt',
  heldout='data/heldout.txt',
  vocabulary={ min_count: 2 },
);
// A batch has as many positions as with lanes.
local sentences = {
  type: 'bilm_sentences',
  batch_tokens: config.model.batch_size * config.model.unroll_steps,
};

config {
  data_loader: sentences { n_negative_samples_batch: config.model.n_negative_samples_batch },
  validation_data_loader: sentences { shuffle: false },
}
