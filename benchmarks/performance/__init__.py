"""Every measurement of speed, memory and size: run one by one, kept as JSON, and told on one page."""
