"""What a batch's way looks like to a tracing system: spans, ids that need no carrying, and who takes them away."""
