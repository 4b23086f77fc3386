-- One row an entry. The id carries the lane in its upper bits, so that each lane is one run of the table.
-- `counted` and `weighed` are cumulative within the lane: the difference of two rows says what lies between them.

-- name: make
CREATE TABLE IF NOT EXISTS log (
    identity TEXT NOT NULL,
    one INTEGER PRIMARY KEY CHECK (one = 1)
);
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    counted INTEGER NOT NULL,
    weighed INTEGER NOT NULL,
    received_us INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS received (
    minute INTEGER PRIMARY KEY,
    readings INTEGER NOT NULL
);

-- name: name_log
INSERT INTO log (identity, one) VALUES (?, 1) ON CONFLICT DO NOTHING;

-- name: identity
SELECT identity FROM log;

-- name: head
-- The newest entry of a lane is never trimmed, so it always says how far the lane has come.
SELECT id, counted, weighed FROM entry WHERE id BETWEEN :first AND :last ORDER BY id DESC LIMIT 1;

-- name: weighed
SELECT weighed FROM entry WHERE id = :id;

-- name: append
INSERT INTO entry (id, counted, weighed, received_us, record) VALUES (?, ?, ?, ?, ?);

-- name: count_received
INSERT INTO received (minute, readings) VALUES (?, ?)
ON CONFLICT (minute) DO UPDATE SET readings = readings + excluded.readings;

-- name: received
SELECT coalesce(sum(readings), 0) FROM received
WHERE minute * 60000000 >= :start_us AND minute * 60000000 < :end_us;

-- name: take
SELECT id, counted, received_us, record FROM entry WHERE id > :after AND id <= :last ORDER BY id;

-- name: read
SELECT id, counted, received_us, record FROM entry WHERE id = :id;

-- name: trim
-- Looks at the lane's oldest few only, so that its cost does not grow with what is kept.
DELETE FROM entry WHERE id IN (
    SELECT id FROM (
        SELECT id, weighed, received_us FROM entry WHERE id >= :first AND id < :stored ORDER BY id LIMIT :entries_max
    )
    WHERE weighed <= :weighed_min OR received_us < :since_us
);

-- name: data_version
PRAGMA data_version;
