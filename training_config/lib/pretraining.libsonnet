// Returns an AllenNLP config for `options` (bilm-tf's options.json, see the model `bilm`). All pretraining configs use this function.
// Override any value on the command line, for example
//   -o '{"train_data_path": "corpus/*.gz", "validation_data_path": "heldout.txt"}'
function(options, train, heldout, vocabulary={}) {
  dataset_reader: {
    type: 'bilm',
    token_indexers: {
      [if std.objectHas(options, 'char_cnn') then 'characters']: {
        type: 'bilm_characters',
        max_characters_per_token: options.char_cnn.max_characters_per_token,
      },
      tokens: { type: 'single_id' },
    },
  },
  vocabulary: { type: 'bilm' } + vocabulary,
  datasets_for_vocab_creation: ['train'],
  train_data_path: train,
  validation_data_path: heldout,
  model: { type: 'bilm' } + options,
  data_loader: {
    type: 'bilm',
    batch_size: options.batch_size,
    num_steps: options.unroll_steps,
    n_negative_samples_batch: options.n_negative_samples_batch,
  },
  // One lane reads the text as one stream. Every further lane would start from a state of zeros, which training sees only in its first
  // batches. A trained LSTM sometimes never recovers from that state, and one such lane spoils the perplexity.
  validation_data_loader: {
    type: 'bilm',
    batch_size: 1,
    num_steps: options.batch_size * options.unroll_steps,
    shuffle: false,
  },
  trainer: {
    num_epochs: options.n_epochs,
    patience: 2,
    validation_metric: '-perplexity',
    optimizer: {
      type: 'bilm',
      lr: options.learning_rate,
      initial_accumulator_value: 1.0,
      max_norm: options.all_clip_norm_val,
    },
    // With the callback 'bilm' below, the same command with --recover resumes an interrupted run exactly.
    checkpointer: { type: 'bilm', save_every_num_seconds: 600 },
    callbacks: [
      { type: 'bilm' },
      // Before the callback 'tensorboard', which logs the metrics that it adds to each batch.
      { type: 'bilm_plan' },
      { type: 'console_logger', should_log_inputs: false },
      { type: 'tensorboard', summary_interval: 10 },
    ],
  },
}
