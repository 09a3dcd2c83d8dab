// The classifier of classifier.jsonnet over a biLM that is trained with it, at a lower learning rate.
local classifier = import 'classifier.jsonnet';

classifier {
  dataset_reader+: {
    // AllenNLP's classifier needs ids of words too; the embedder 'empty' leaves them out.
    token_indexers: { tokens: { type: 'bilm_characters' }, words: { type: 'single_id' } },
  },
  model+: {
    text_field_embedder: {
      token_embedders: {
        tokens: { type: 'bilm', archive_file: 'model.tar.gz', requires_grad: true },
        words: { type: 'empty' },
      },
    },
  },
  trainer+: {
    num_epochs: 6,
    optimizer+: { parameter_groups: [[['_elmo._encoder'], { lr: 0.0003 }]] },
  },
}
