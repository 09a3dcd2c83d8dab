// WikiText-2 with bilm-tf's own settings, for comparing held-out perplexities. The text, one sentence a line, comes with
//   -o '{"train_data_path": "train.txt", "validation_data_path": "heldout.txt"}'
local bilm = import 'bilm.jsonnet';

bilm {
  model+: { n_epochs: 2 },
  trainer+: { num_epochs: 2 },
}
