"""Concept after concept on one model, by every method that does it: what is learned, what is kept, what it costs."""
