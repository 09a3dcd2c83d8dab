// The released medium size: 28.0 million parameters without the softmax.
local released = import 'lib/released.libsonnet';

released(dim=2048, projection_dim=256, n_highway=1)
