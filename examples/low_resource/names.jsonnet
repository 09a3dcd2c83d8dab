// Names: the `crf_tagger` of allennlp-models. The runner gives the paths, the vectors and the seeds.
local width = std.parseInt(std.extVar('WIDTH'));
local batches = { batch_sampler: { type: 'bucket', batch_size: 16, sorting_keys: ['tokens'] } };

{
  dataset_reader: { type: 'conll_tags', file_format: 'conll2003' },
  evaluate_on_test: true,
  model: {
    type: 'crf_tagger',
    label_encoding: 'BIOUL',
    include_start_end_transitions: false,
    dropout: 0.5,
    encoder: { type: 'lstm', input_size: width, hidden_size: 200, bidirectional: true },
  },
  data_loader: batches { batches_per_epoch: 100 },
  validation_data_loader: batches,
  trainer: {
    num_epochs: 12,
    validation_metric: '+f1-measure-overall',
    grad_norm: 5.0,
    optimizer: { type: 'adamw', lr: 0.002 },
    learning_rate_scheduler: { type: 'linear_with_warmup', warmup_steps: 100 },
  },
}
