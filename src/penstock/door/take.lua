-- Take one request from a bucket, atomically, by Redis's own clock.
-- KEYS: the bucket. ARGV: the rate a second, the burst.
-- A bucket is held as one number: the time, in microseconds, at which it is full again. Full is not there at all,
-- so idle buckets vanish by themselves, and a Redis that lost everything means full buckets, no more.
-- Answers whether the request passes (0, 1) and the tokens left, in thousandths.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each = 1000000 / ARGV[1]
local burst = tonumber(ARGV[2])

local function keep(full_at)
  -- %.2f: tostring() would keep 14 digits, a microsecond since 1970 has 16.
  redis.call('SET', KEYS[1], string.format('%.2f', full_at), 'PX', math.ceil((full_at - now) / 1000))
end

-- After a clock was set back, or with a smaller burst, what is held lies too far ahead: that is an empty bucket.
local held = tonumber(redis.call('GET', KEYS[1]) or now) or now
local full_at = math.min(math.max(held, now), now + burst * each)
local tokens = burst - (full_at - now) / each
if tokens < 1 then
  if full_at < held then
    keep(full_at)
  end
  return {0, math.floor(tokens * 1000)}
end
keep(full_at + each)
return {1, math.max(0, math.floor((tokens - 1) * 1000))}
