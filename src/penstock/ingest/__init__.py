"""The doors through which readings come in: decode, admit, make durable, answer."""
