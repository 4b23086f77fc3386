"""What happens to readings on their way from the stream to the store."""
