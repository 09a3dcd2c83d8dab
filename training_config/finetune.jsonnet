// Continues training a pretrained biLM on other text. Name both:
//   -o '{"model.pretrained_file": "OLD/model.tar.gz", "train_data_path": "train.txt", "validation_data_path": "heldout.txt"}'
// The vocabulary is that of the new text: words that the old model knows keep their rows of the softmax, other words get random rows.
// To keep the old vocabulary, add to the overrides:
//   "vocabulary": {"type": "bilm", "vocab_file": "OLD/model.tar.gz"}
// The options must be those of the old model. If it is not of bilm.jsonnet, put its config in place of that one.
local pretraining = import 'bilm.jsonnet';

pretraining {
  model+: { pretrained_file: 'runs/bilm/model.tar.gz' },
}
