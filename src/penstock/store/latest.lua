-- KEYS: the hash of readings, the sorted set of their paths. ARGV: path, order, reading; and again.
-- `order` is 32 hex digits that compare as the readings do; it begins every value that is held.
for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if not held then
    redis.call('ZADD', KEYS[2], 0, ARGV[i])
  end
  if not held or string.sub(held, 1, 32) < ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ARGV[i + 2])
  end
end
