"""The system's diagnosis, calibrated: learnings made to go wrong in a known way, and learnings made to go well."""
