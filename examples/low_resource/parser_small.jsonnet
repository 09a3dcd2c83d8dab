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
    tag_representation_dim: 64,
    dropout: 0.3,
    input_dropout: 0.3,
    // The best tree takes half of the time of an epoch: the runner finds it for the test data only.
    use_mst_decoding_for_validation: false,
  },
  data_loader: batches { batches_per_epoch: 75 },
  validation_data_loader: batches,
  trainer: {
    num_epochs: 15,
    validation_metric: '+LAS',
    grad_norm: 5.0,
    optimizer: { type: 'adamw', lr: 0.002 },
    learning_rate_scheduler: { type: 'linear_with_warmup', warmup_steps: 75 },
  },
}
