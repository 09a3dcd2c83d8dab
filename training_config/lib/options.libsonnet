// bilm-tf's options.json for a biLM of a given size, with what all published sizes have in common.
function(dim, projection_dim, filters, n_highway) {
  bidirectional: true,
  char_cnn: {
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
