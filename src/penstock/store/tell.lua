-- KEYS: the lease, the stream. ARGV: the lease as it must read, how many entries are kept (about), what is told.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'found', ARGV[3])
return 1
