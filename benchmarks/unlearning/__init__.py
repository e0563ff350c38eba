"""What forgetting a concept on purpose costs the others, and what it leaves of itself.

`python -m benchmarks.unlearning` is experiment 9 of the method: one concept is removed from the middle of a history, in
every way there is.
"""
