-- What is remembered of a key, and the time by Redis's own clock.
-- KEYS: the record, the mark of the key's revocation. ARGV: how long a record is kept, how long nobody looks anew (ms).
-- Answers the time in microseconds, the record, whether the key is revoked, and whether the asker is to look anew: one
-- of all processes is told so, by whoever finds that nobody was for a while (a record's rest of life tells when).
local time = redis.call('TIME')
local now = time[1] .. string.format('%06d', time[2])
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {now, false, 1, 0}
end
local record = redis.call('GET', KEYS[1])
local is_due = record and redis.call('PTTL', KEYS[1]) <= ARGV[1] - ARGV[2]
if is_due then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {now, record, 0, is_due and 1 or 0}
