// The released small size: 13.6 million parameters without the softmax.
local released = import 'lib/released.libsonnet';

released(dim=1024, projection_dim=128, n_highway=1)
