// Parts of speech: AllenNLP's `simple_tagger`. The runner gives the paths, the vectors (`token_indexers` and `token_embedders`) and the
// seeds.
local width = std.parseInt(std.extVar('WIDTH'));
local batches = { batch_sampler: { type: 'bucket', batch_size: 16, sorting_keys: ['tokens'] } };

{
  dataset_reader: { type: 'conll_tags', file_format: 'conllu' },
  evaluate_on_test: true,
  model: {
    type: 'simple_tagger',
    encoder: { type: 'lstm', input_size: width, hidden_size: 150, num_layers: 2, dropout: 0.5, bidirectional: true },
  },
  // An epoch has the same number of sentences for each language, so that the number of epochs fits much and little data.
  data_loader: batches { batches_per_epoch: 75 },
  validation_data_loader: batches,
  trainer: {
    num_epochs: 10,
    validation_metric: '+accuracy',
    grad_norm: 5.0,
    optimizer: { type: 'adamw', lr: 0.002 },
    // The learning rate falls to zero at the end of the last epoch.
    learning_rate_scheduler: { type: 'linear_with_warmup', warmup_steps: 75 },
  },
}
