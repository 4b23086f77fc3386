"""An AWS Secrets Manager of our own, as exact as its staging labels: `python -m secrets_fake --port PORT`."""
