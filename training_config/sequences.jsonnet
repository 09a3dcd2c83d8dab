// A biLM of sequences in FASTA files: proteins, nucleic acids, receptors. Each character is a word. The softmax is full, since the
// vocabulary is smaller than the number of samples. A window has 100 steps, as in SeqVec, because sequences are longer than sentences.
//   -o '{"train_data_path": "train.fasta", "validation_data_path": "heldout.fasta"}'
local options = import 'lib/options.libsonnet';
local pretraining = import 'lib/pretraining.libsonnet';

pretraining(
  // A word has one character between two marks, so wider filters see nothing more.
  options(dim=256, projection_dim=64, filters=[[1, 16], [2, 32], [3, 64]], n_highway=1) {
    batch_size: 32,
    unroll_steps: 100,
    n_epochs: 2,
    n_negative_samples_batch: 512,
  },
  train='train.fasta',
  heldout='heldout.fasta',
)
