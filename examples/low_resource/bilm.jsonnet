// A biLM for a language with little text: the size of wikitext2.jsonnet, with wider filters and longer words for scripts whose letters
// have two or three bytes. It reads single sentences, as a model of a task does.
local options = import '../../training_config/lib/options.libsonnet';
local pretraining = import '../../training_config/lib/pretraining.libsonnet';

local filters = [[1, 32], [2, 32], [3, 64], [4, 64], [5, 96], [6, 96], [7, 128]];
local config = pretraining(
  options(dim=512, projection_dim=128, filters=filters, n_highway=1) {
    batch_size: 32,
    n_epochs: 10,
    n_negative_samples_batch: 1024,
    char_cnn+: { max_characters_per_token: 98 },
  },
  train='train.txt',
  heldout='heldout.txt',
  vocabulary={ min_count: 2 },
);
local sentences = {
  type: 'bilm_sentences',
  batch_tokens: config.model.batch_size * config.model.unroll_steps,
};

config {
  // Faster where the processor has AVX512_BF16 or AMX; float32 elsewhere.
  model+: { precision: 'bf16' },
  data_loader: sentences { n_negative_samples_batch: config.model.n_negative_samples_batch },
  validation_data_loader: sentences { shuffle: false },
}
