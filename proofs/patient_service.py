"""`penstock` without time-outs on its connections to the database, but for connecting. The control of P8."""

from penstock.__main__ import main
from penstock.store import postgres

for name in tuple(postgres.TCP):
    if name != "connect_timeout":
        del postgres.TCP[name]  # type: ignore[misc]

if __name__ == "__main__":
    main()
