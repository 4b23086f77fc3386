"""A Lambda of our own that changes the database's password: a package of its own, with psycopg and botocore alone."""
