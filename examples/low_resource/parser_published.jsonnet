// The parser of Gessler and Zeldes (2022): three highway LSTM layers of 400, arcs and tags of 100, AdamW, epochs of 200 batches of 16.
// They train for up to 300 epochs, until the best one is 50 epochs old; here it is 30 epochs, which take about an hour.
local small = import 'parser_small.jsonnet';
local width = std.parseInt(std.extVar('WIDTH'));

small {
  model+: {
    encoder: {
      type: 'stacked_bidirectional_lstm',
      input_size: width,
      hidden_size: 400,
      num_layers: 3,
      recurrent_dropout_probability: 0.3,
      use_highway: true,
    },
    arc_representation_dim: 100,
    tag_representation_dim: 100,
  },
  data_loader+: { batches_per_epoch: 200 },
  trainer+: { num_epochs: 30, optimizer: { type: 'adamw', lr: 0.001 }, learning_rate_scheduler: null },
}
