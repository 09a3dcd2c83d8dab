// Word input: one vector for each word of the vocabulary instead of a character CNN. The softmax has the same vectors. Steps are
// faster than those of bilm.jsonnet. A word outside the vocabulary is <UNK>, so use a large vocabulary.
local options = import 'lib/options.libsonnet';
local pretraining = import 'lib/pretraining.libsonnet';

pretraining(
  options(dim=256, projection_dim=64) {
    share_embedding_softmax: true,
    batch_size: 32,
    n_epochs: 2,
    n_negative_samples_batch: 512,
  },
  train='data/train.txt',
  heldout='data/heldout.txt',
  vocabulary={ min_count: 2 },
)
