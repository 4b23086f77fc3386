"""Secrets are references until the moment of use: where they stand in settings, how they are read, how they change."""
