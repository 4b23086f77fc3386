"""What every HTTP door shares: keys, rate limit, problem+json, deadlines."""
