"""One step of learning: ours, beside the same step as diffusers' published training examples take it."""
