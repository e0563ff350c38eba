"""Concept Neuron Selection: teach one diffusion model concept after concept, and go back to any earlier state.

A concept is learned as a `Delta`, a sparse set of cross-attention values and the vector of its own token. The base
model is never written: a version is composed from the base and its deltas whenever it is needed.
"""

__version__ = "0.1.0"
