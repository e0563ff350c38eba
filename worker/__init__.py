"""The process that owns the device: takes jobs from the queue, runs them on one live model, publishes their results."""
