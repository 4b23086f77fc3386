"""`python -m secrets_fake --port PORT`."""

import argparse

from secrets_fake.http import FakeSecretsManager

words = argparse.ArgumentParser()
words.add_argument("--port", type=int, default=0)
fake = FakeSecretsManager(words.parse_args().port)
fake.serve()
