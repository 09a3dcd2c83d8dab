// The biLM of Peters et al. 2018: 93.6 million parameters without the softmax.
local released = import 'lib/released.libsonnet';

released(dim=4096, projection_dim=512, n_highway=2)
