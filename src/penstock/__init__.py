"""Penstock carries readings from factory sensors to a compliant, queryable, alarmed history."""

__version__ = "0.1.0"
