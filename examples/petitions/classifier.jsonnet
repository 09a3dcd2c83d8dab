// A classifier of petitions: AllenNLP's `basic_classifier` over stored vectors of a frozen biLM (`components.py`).
local width = std.parseInt(std.extVar('WIDTH'));  // of the vectors of the biLM
local pooling = std.extVar('POOLING');
local rnn = std.extVar('RNN');  // none, input, or input_and_output: where the vectors of the biLM are given to the RNN
local hidden = 64;

local lstm = { type: 'lstm', input_size: width, hidden_size: hidden, bidirectional: true };
local rnns = {
  none: null,
  input: lstm,
  input_and_output: { type: 'with_output_vectors', encoder: lstm },
};
local pooled_width = { none: width, input: 2 * hidden, input_and_output: 2 * hidden + width }[rnn];
local poolings = {
  mean: { type: 'bag_of_embeddings', embedding_dim: pooled_width, averaged: true },
  word_maximum: { type: 'word_maximum', embedding_dim: pooled_width },
  attention: { type: 'attention', embedding_dim: pooled_width },
  convolution: { type: 'cnn', embedding_dim: pooled_width, num_filters: 100, ngram_filter_sizes: [1, 2, 3] },
  last_state: { type: 'lstm', input_size: pooled_width, hidden_size: hidden, bidirectional: true },
};

{
  dataset_reader: {
    type: 'petitions',
    token_indexers: { tokens: { type: 'single_id', namespace: null, feature_name: 'text_id' } },
    max_words: 100,
  },
  train_data_path: 'train.jsonl',
  validation_data_path: 'dev.jsonl',
  model: {
    type: 'basic_classifier',
    text_field_embedder: {
      token_embedders: {
        tokens: {
          type: 'stored_vectors',
          vectors_file: 'vectors.npy',
          num_mixes: if rnn == 'input_and_output' then 2 else 1,
        },
      },
    },
    seq2seq_encoder: rnns[rnn],
    seq2vec_encoder: poolings[pooling],
  },
  data_loader: { batch_size: 32, shuffle: true },
  validation_data_loader: { batch_size: 64, shuffle: false },
  trainer: {
    num_epochs: 25,
    patience: 4,
    validation_metric: '+accuracy',
    optimizer: { type: 'adam', lr: 0.003 },
  },
}
