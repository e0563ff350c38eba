"""Jobs: what is to be done, who has claimed it, how far it has come."""
