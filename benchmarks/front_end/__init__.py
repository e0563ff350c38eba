"""How quickly pages and REST answer while the worker is busy."""
