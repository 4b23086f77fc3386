"""Detectors: pure arithmetic over columns, with state that is learned only from what is stored."""
