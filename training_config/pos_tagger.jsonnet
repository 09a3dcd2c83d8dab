// A part-of-speech tagger: AllenNLP's `simple_tagger` with a pretrained, frozen biLM. Training changes only the mixing weights, a small
// LSTM and the output layer. Files are in CoNLL-U; for CoNLL-2003 give the reader `file_format: 'conll2003'`.
//   -o '{"train_data_path": "train.conllu", "validation_data_path": "dev.conllu",
//        "model.text_field_embedder.token_embedders.elmo.archive_file": "OUT/model.tar.gz"}'
local width = 64;  // projection_dim of the biLM

{
  dataset_reader: {
    type: 'conll_tags',
    token_indexers: { elmo: { type: 'bilm_characters' } },
  },
  train_data_path: 'data/train.conllu',
  validation_data_path: 'data/dev.conllu',
  model: {
    type: 'simple_tagger',
    text_field_embedder: {
      token_embedders: {
        elmo: { type: 'bilm', archive_file: 'out/model.tar.gz', dropout: 0.2 },
      },
    },
    encoder: { type: 'lstm', input_size: 2 * width, hidden_size: 100, bidirectional: true },
  },
  data_loader: { batch_size: 32, shuffle: true },
  trainer: {
    num_epochs: 10,
    patience: 3,
    validation_metric: '+accuracy',
    optimizer: { type: 'adam', lr: 0.002 },
  },
}
