"""How big a deployment must be, and what it costs a month: arithmetic that can be checked with a finger.

    Demand + Design -> Sizes (streams, tasks, database, cache, archive, latency) -> Bill -> Plan

`measured` holds every figure the arithmetic rests on with its source, `prices.toml` every price. Nothing here does I/O
but for reading that file.
"""
