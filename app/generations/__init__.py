"""Generations: pictures asked for and pictures made."""
