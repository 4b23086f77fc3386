"""Every figure the planner rests on, and its source: a bench, a document of AWS's, or an assumption said so."""

from typing import Final

HOURS_A_MONTH: Final = 730
"""AWS's own month: 365 days / 12."""
MONTH_S: Final = HOURS_A_MONTH * 3_600
"""2,628,000 seconds, from HOURS_A_MONTH."""
DAY_S: Final = 86_400
"""Definition."""
YEAR_DAYS: Final = 365.25
"""Definition; 7 years are 2,557 days."""
GB: Final = 1e9
"""Definition: AWS bills the month's GB; where it means GiB we are 7 % dear."""

HEADROOM: Final = 1.3
"""Assumption: a stream is sized for so many times its peak; hash keys never spread evenly."""
LOAD_MAX: Final = 0.5
"""Assumption: share of a processor in use at peak, so that half the tasks may fail or fall behind and catch up."""
FARGATE_FACTOR: Final = 1.5
"""Assumption: CPU time on a Fargate vCPU, a hyperthread beside somebody else's, to that of the bench's machine."""

# --- the stream ---------------------------------------------------------------------------------------------------

SHARD_BYTES_PER_S: Final = 1e6
"""AWS, Kinesis quotas: 1 MB/s in."""
SHARD_RECORDS_PER_S: Final = 1_000
"""AWS, Kinesis quotas."""
PUT_UNIT_BYTES: Final = 25 * 2**10
"""AWS, Kinesis pricing: a record counts as so many payload units as it has 25 KiB, begun ones whole."""
BULK_RECORDS_PER_S: Final = 250
"""Of one ingest process: `records_per_s` of stream/kinesis/put.py. At more, records get fuller."""
CRITICAL_RECORDS_PER_S: Final = 1_000
"""Of one ingest process: `critical_records_per_s` of stream/kinesis/put.py."""
RECORD_BYTES: Final = (
    (1.0, 155.4),
    (15.6, 28.4),
    (39.1, 20.7),
    (48.8, 19.5),
    (97.7, 16.7),
    (195.3, 14.3),
)
"""Readings a record, bytes a reading. bench/put.py: 1,000/s and 10,000/s in one process, 100,000/s in 8, 4 and 2 (so
many readings share a record); a lone reading: bench/wire.py. Between them straight in the logarithms, beyond them flat.
Simulated plant: measure your own as penstock_put_bytes / penstock_put_readings."""
FOREIGN_BYTES: Final = 180
"""A reading put alone by somebody else: 150 B of JSON and 30 B of keys (the JSON: bench/wire.py uncompressed)."""
GATEWAY_REQUESTS_PER_S: Final = 10_000
"""AWS, API Gateway quotas: of an account in a region, unless it asks for more."""
POLLS_PER_S: Final = 4.5
"""Of a shard: `CALLS_PER_S` of stream/kinesis/poll.py, of the 5 that AWS allows."""
BASE64: Final = 4 / 3
"""AWS, Kinesis API: a record's data is base64 in JSON on the wire, and billed as it was before."""

# --- processors: CPU microseconds on the bench's machine ------------------------------------------------------------

REQUEST_US: Final = 280
"""The door, a request: docs/measurements.md, front at one reading a request (280.3)."""
READING_US: Final = 2.8
"""The door, a reading: docs/measurements.md, front at 100 a request (5.55) less a hundredth of REQUEST_US."""
RECORD_US: Final = 290
"""The door, a record put: bench/put.py, (4.13 - 2.63) us a reading between 97.7 and 195.3 readings a record."""
WORK_US: Final = 6.0
"""A worker, a reading: bench/scale.py and docs/measurements.md gave 2 to 6; the dearest."""
POSTGRES_US: Final = 2.0
"""PostgreSQL, a reading written and sealed: bench/scale.py and docs/measurements.md gave 0.9 to 2; the dearest."""
FOLLOW_US: Final = 0.8
"""Every page's process reads what is committed back: a fifth of the front, docs/decisions/0006."""
QUERY_US: Final = 2_200
"""A query of a tag's range, in `serve` and again in PostgreSQL: docs/measurements.md, p50 2.2 ms for both together."""
READER_QUERIES_PER_S: Final = 0.2
"""Assumption: a reader, person or system, asks every five seconds."""
ONE_INSERT_US: Final = 95
"""PostgreSQL, one INSERT and commit a reading: measured 95-112 us beside this project, on the same machine."""

# --- memory ---------------------------------------------------------------------------------------------------------

PROCESS_MB: Final = 190
"""docs/measurements.md: front 122 MB, worker 81; and 64 MiB of `stream.pending_bytes_max`."""
TAG_KB: Final = 2.0
"""Assumption, in `work` and `serve`: detectors' state is a few hundred bytes a tag, caches are as much again."""
CONNECTION_MB: Final = 10.0
"""Assumption: a backend of PostgreSQL with its plans and sorts."""
CONNECTIONS: Final = 10
"""Of a task: `store.connections_max` of the settings."""
POSTGRES_MB: Final = 500.0
"""Assumption: PostgreSQL itself and what Aurora runs beside it; an hour of readings and connections are added."""
LATEST_BYTES: Final = 400
"""Assumption: a tag's path, unit and newest reading in Redis, and its place in the index of paths."""
REDIS_OVERHEAD: Final = 1.25
"""Assumption: allocator and hash tables beside what is stored."""
REDIS_USABLE: Final = 0.75
"""AWS, ElastiCache: reserved-memory-percent is 25 by default."""
REDIS_BASE_MB: Final = 100.0
"""Assumption: Redis itself, limits, keys, and the live feed, which is capped."""

# --- storage --------------------------------------------------------------------------------------------------------

STORED_BYTES: Final = 17.0
"""A reading in PostgreSQL: bench/history.py, 6.1 to 17 merged (1,000 and 10,000 tags); the dearest."""
ROW_BYTES: Final = 168.0
"""One row a reading, text id and btree: measured beside this project."""
WAL_BYTES: Final = 36.0
"""A reading: measured at 300,000/s beside this project, when the layout was chosen."""
PAGE_BYTES: Final = 4_096
"""AWS, Aurora: writes are counted in I/Os of 4 KB of log."""
FLUSHES_PER_S: Final = 10.0
"""Of a shard at most: `process.linger_ms` of the settings is 100."""
MINUTE_BYTES: Final = 170.0
"""A row of rollup_1m: 72 B of columns, 28 of header, at fillfactor 70, and 27 of its key's index."""
HOUR_BYTES: Final = 230.0
"""A row of rollup_1h: the same at fillfactor 50."""
PARQUET_BYTES: Final = 12.0
"""A reading in the archive: measured 8 to 12; the dearest."""
JSON_BYTES: Final = 150.0
"""A reading as JSON: measured 146.6 beside this project."""
ZSTD_BYTES: Final = 20.0
"""A reading of a zstd-compressed request of 500: measured 9.8, planned twice that because plants are not simulated."""
OBJECT_READINGS: Final = 16_000_000
"""Of a file in the archive: `PART_READINGS` of store/archiver.py. A quiet plant has one a day."""
DATABASE_WIRE_BYTES: Final = 30.0
"""Assumption: a reading on its way to PostgreSQL, a little less than its WAL."""
ZONE_CROSSED: Final = 0.5
"""Assumption: of two zones half of what tasks say to the database goes to the other one."""

# --- latency, p99 of a stage in ms ------------------------------------------------------------------------------------

DOOR_MS: Final = 35.0
"""docs/measurements.md: scheduled send to 202, p99, at 100,000/s on two cores shared with everything else."""
PUT_MS: Final = 40.0
"""Assumption: AWS publishes no p99 of PutRecords; bench/path.py plays 15."""
FAN_OUT_MS: Final = 70.0
"""AWS, enhanced fan-out: 70 ms on average; its p99 is not published."""
TAKE_MS: Final = 15.0
"""GetRecords' own time (bench/path.py plays 10) and decoding."""
COMMIT_MS: Final = 40.0
"""A flush: p99 7 ms measured on a local disk. Assumption: a second zone's disk takes the rest."""

# --- what stands about ------------------------------------------------------------------------------------------------

LOG_GB_A_TASK: Final = 0.5
"""Assumption, a month: we log batches that fail, not readings that pass."""
METRICS: Final = 50
"""Assumption: what the dashboard and the alarms look at."""
TRACED: Final = 0.01
"""Assumption: share of requests that X-Ray keeps."""
