// Goes on training a pretrained biLM on other text:
//   -o '{"model.pretrained_file": "OLD/model.tar.gz", "train_data_path": "train.txt", "validation_data_path": "heldout.txt"}'
// The vocabulary is that of the new text: words the old model knows keep their rows of the softmax, the others get fresh ones. With
//   "vocabulary": {"type": "bilm", "vocab_file": "OLD/model.tar.gz"}
// among the overrides it stays the old one. The options of the model must be the old ones: import another config here for another.
local pretraining = import 'bilm.jsonnet';

pretraining {
  model+: { pretrained_file: 'runs/bilm/model.tar.gz' },
}
