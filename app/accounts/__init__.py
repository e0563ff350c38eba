"""People: users, their sessions and keys, the first administrator."""
