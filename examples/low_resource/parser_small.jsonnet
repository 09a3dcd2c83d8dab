// A parser that trains in minutes: the `biaffine_parser` of allennlp-models over PyTorch's LSTM. The runner gives the paths, the vectors
// and the seeds.
local width = std.parseInt(std.extVar('WIDTH'));
local batches = { batch_sampler: { type: 'bucket', batch_size: 16, sorting_keys: ['words'] } };

{
  dataset_reader: { type: 'universal_dependencies' },
  evaluate_on_test: true,
  model: {
    type: 'biaffine_parser',
    encoder: { type: 'lstm', input_size: width, hidden_size: 200, num_layers: 2, dropout: 0.3, bidirectional: true },
    arc_representation_dim: 200,
    tag_representation_dim: 100,
    dropout: 0.3,
    input_dropout: 0.3,
  },
  data_loader: batches { batches_per_epoch: 100 },
  validation_data_loader: batches,
  trainer: {
    num_epochs: 25,
    patience: 4,
    validation_metric: '+LAS',
    grad_norm: 5.0,
    optimizer: { type: 'adamw', lr: 0.002 },
  },
}
