// Parts of speech: AllenNLP's `simple_tagger`. The linear layer before the LSTM is there for its dropout: the tagger has none of its own.
// The runner gives the paths, the vectors (`token_indexers` and `token_embedders`) and the seeds.
local width = std.parseInt(std.extVar('WIDTH'));

{
  dataset_reader: { type: 'conll_tags', file_format: 'conllu' },
  evaluate_on_test: true,
  model: {
    type: 'simple_tagger',
    encoder: {
      type: 'compose',
      encoders: [
        { type: 'feedforward', feedforward: { input_dim: width, num_layers: 1, hidden_dims: width, activations: 'linear', dropout: 0.3 } },
        { type: 'lstm', input_size: width, hidden_size: 200, bidirectional: true },
      ],
    },
  },
  data_loader: { batch_sampler: { type: 'bucket', batch_size: 16, sorting_keys: ['tokens'] } },
  trainer: {
    num_epochs: 25,
    patience: 4,
    validation_metric: '+accuracy',
    grad_norm: 5.0,
    optimizer: { type: 'adamw', lr: 0.002 },
  },
}
