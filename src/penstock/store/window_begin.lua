-- KEYS: the state. ARGV: a new generation. Forgets every page; the state is not complete until `since` is put.
local known = redis.call('HKEYS', KEYS[1])
for i = 1, #known do
  if string.sub(known[i], 1, 5) == 'page:' then
    redis.call('UNLINK', string.sub(known[i], 6))
  end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', ARGV[1])
