"""Step-level Monte Carlo tree search over a policy: trees, rewards, pairs, and the loop over many trees."""
