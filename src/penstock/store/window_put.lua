-- KEYS: the state, then the hashes of pages that are written.
-- ARGV: generation; the token by which the pages were read ('' while beginning); the next token; `since` ('' to keep it);
-- the number of shards, of each its name, where the fold begins and where it ends; of each hash the first interval that
-- is still needed, the intervals that it may hold, the number of its pages, and of each its interval and content.
-- Positions are 60 digits, compared as text: a number of Lua would not hold them.
local state, generation, token, since = KEYS[1], ARGV[1], ARGV[2], ARGV[4]
if redis.call('HGET', state, 'generation') ~= generation then
  return 'lost'
end
local at = 6
local known, follows = true, true
local heads = {}
for _ = 1, tonumber(ARGV[5]) do
  local shard, before, head = 'shard:' .. ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local held = redis.call('HGET', state, shard) or string.rep('0', 60)
  known = known and held >= head
  follows = follows and held == before
  heads[#heads + 1] = shard
  heads[#heads + 1] = head
  at = at + 3
end
if token ~= '' then
  if redis.call('HEXISTS', state, 'since') == 0 then return 'lost' end
  if known then return 'known' end
  if not follows then return 'apart' end
  if redis.call('HGET', state, 'token') ~= token then return 'moved' end
end
for i = 2, #KEYS do
  if redis.call('HEXISTS', state, 'page:' .. KEYS[i]) == 1 and redis.call('HGET', KEYS[i], '') ~= generation then
    return 'lost'
  end
end
for i = 2, #KEYS do
  local horizon, most, pages = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  redis.call('HSET', state, 'page:' .. KEYS[i], '1')
  redis.call('HSET', KEYS[i], '', generation)
  for _ = 1, pages do
    redis.call('HSET', KEYS[i], ARGV[at], ARGV[at + 1])
    at = at + 2
  end
  if redis.call('HLEN', KEYS[i]) > most then
    for _, interval in ipairs(redis.call('HKEYS', KEYS[i])) do
      if interval ~= '' and tonumber(interval) < horizon then
        redis.call('HDEL', KEYS[i], interval)
      end
    end
  end
end
if #heads > 0 then redis.call('HSET', state, unpack(heads)) end
if since ~= '' then redis.call('HSET', state, 'since', since) end
redis.call('HSET', state, 'token', ARGV[3])
return 'added'
