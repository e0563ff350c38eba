"""Concepts: what is taught, from which pictures, with which captions."""
