"""Forgettings: a history goes on without a concept, which may be erased with a proof."""
