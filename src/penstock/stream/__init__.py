"""Where accepted readings wait, durably, until they are stored."""
