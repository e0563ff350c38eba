"""Histories: trees of versions with a head that moves."""
