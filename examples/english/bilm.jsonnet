// An English biLM for isolated sentences: it scores them, ranks substitutes of words, and gives vectors to taggers. The lines of its text
// are shuffled sentences, so the state at the end of one says nothing about the next. A training batch therefore holds single sentences, and
// each starts from a state of zeros, as every sentence does when the model is used.
//   -o '{"train_data_path": "train.txt.gz", "validation_data_path": "heldout.txt.gz"}'
local options = import '../../training_config/lib/options.libsonnet';
local pretraining = import '../../training_config/lib/pretraining.libsonnet';

local filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]];
local config = pretraining(
  options(dim=512, projection_dim=128, filters=filters, n_highway=1) {
    batch_size: 32,
    n_epochs: 2,
    n_negative_samples_batch: 1024,
    precision: 'bf16',
  },
  train='train.txt.gz',
  heldout='heldout.txt.gz',
  // A form that occurs less often is <UNK> as a target: 40,891 of 125,958 forms are left, 97.4% of the words.
  vocabulary={ min_count: 4 },
);
local sentences = { type: 'bilm_sentences', batch_tokens: config.model.batch_size * config.model.unroll_steps };

config {
  data_loader: sentences { n_negative_samples_batch: config.model.n_negative_samples_batch },
  validation_data_loader: sentences { shuffle: false },
}
