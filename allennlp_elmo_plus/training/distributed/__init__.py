"""Training in several processes: collectives, sparse gradients, lane states, heartbeat."""
