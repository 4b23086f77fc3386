-- KEYS: the hash of readings, the sorted set of their paths. ARGV: the generation to take when content was lost,
-- or when ARGV[2] says so. The generation lies within both keys (no path is empty), so it is lost with either.
local held = redis.call('HGET', KEYS[1], '')
if ARGV[2] == 'keep' and held and redis.call('ZSCORE', KEYS[2], '') then
  return held
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], '', ARGV[1])
redis.call('ZADD', KEYS[2], 0, '')
return ARGV[1]
