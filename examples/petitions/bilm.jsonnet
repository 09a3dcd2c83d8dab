// The biLM of petitions: the size of wikitext2.jsonnet, trained by sentences, from a state of zeros each. The text is small: with lanes,
// whose state is carried on, a training of this size may leave the state of zeros bad (docs/troubleshoot.md).
local options = import '../../training_config/lib/options.libsonnet';
local pretraining = import '../../training_config/lib/pretraining.libsonnet';

local filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]];
local config = pretraining(
  options(dim=512, projection_dim=128, filters=filters, n_highway=1) {
    batch_size: 32,
    n_epochs: 5,
    n_negative_samples_batch: 1024,
  },
  train='text/train.txt',
  heldout='text/heldout.txt',
  vocabulary={ min_count: 2 },
);
local sentences = { type: 'bilm_sentences', batch_tokens: 640 };

config {
  model+: { precision: 'bf16' },
  data_loader: sentences { n_negative_samples_batch: config.model.n_negative_samples_batch },
  validation_data_loader: sentences { shuffle: false },
}
