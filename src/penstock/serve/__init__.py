"""How people and systems get readings, alarms and proofs out again."""
