// Returns bilm-tf's options.json for a biLM of the given size; all other values are those of the published models. Without `filters` the
// model has word input: one vector per word instead of a character CNN.
function(dim, projection_dim, filters=null, n_highway=0) {
  bidirectional: true,
  [if filters != null then 'char_cnn']: {
    activation: 'relu',
    embedding: { dim: 16 },
    filters: filters,
    max_characters_per_token: 50,
    n_characters: 261,
    n_highway: n_highway,
  },
  lstm: {
    dim: dim,
    projection_dim: projection_dim,
    n_layers: 2,
    cell_clip: 3,
    proj_clip: 3,
    use_skip_connections: true,
  },
  dropout: 0.1,
  unroll_steps: 20,
  learning_rate: 0.2,
  all_clip_norm_val: 10.0,
}
