-- Ends a lease unless a newer incarnation holds it. KEYS: lease, members. ARGV: incarnation, identity.
local lease = redis.call('GET', KEYS[1])
if lease and string.match(lease, '^%d+') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[2])
end
return 1
