-- KEYS: the state, the hash of the tag's pages. ARGV: the tag as four bytes, bytes of a bucket, first and last interval,
-- when the first begins. The tag's buckets; false where they are not all here.
local since = redis.call('HGET', KEYS[1], 'since')
if not since or tonumber(since) > tonumber(ARGV[5]) then
  return false
end
if redis.call('HGET', KEYS[2], '') ~= redis.call('HGET', KEYS[1], 'generation') then
  return false
end
local tag, size = ARGV[1], tonumber(ARGV[2])
local intervals = {}
for interval = tonumber(ARGV[3]), tonumber(ARGV[4]) do
  intervals[#intervals + 1] = string.format('%d', interval)
end
local found = {}
for _, page in ipairs(redis.call('HMGET', KEYS[2], unpack(intervals))) do
  if page then
    for i = 1, #page, size do
      if string.sub(page, i, i + 3) == tag then
        found[#found + 1] = string.sub(page, i, i + size - 1)
      end
    end
  end
end
return table.concat(found)
