-- KEYS: the lease, its count. ARGV: who asks, for how many ms. The lease reads `who:token`, the token grows with every
-- change of hands. The token if it is theirs now, or was already; 0 if it is another's.
local held = redis.call('GET', KEYS[1])
if held then
  local who, token = string.match(held, '^(.*):(%d+)$')
  if who ~= ARGV[1] then
    return 0
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(token)
end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. token, 'NX', 'PX', ARGV[2])
return token
