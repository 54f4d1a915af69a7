-- Marks a lease as draining and leaves its expiry alone. KEYS: lease. ARGV: incarnation. Returns as renew does.
local lease = redis.call('GET', KEYS[1])
if not lease then return '' end
local incarnation, counter, state, rest = string.match(lease, '^(%d+) (%d+) (%a) (.*)$')
if incarnation == ARGV[1] then
  if state ~= 'd' then
    redis.call('SET', KEYS[1], incarnation .. ' ' .. counter .. ' d ' .. rest, 'KEEPTTL')
  end
  return '1'
end
if incarnation and tonumber(incarnation) > tonumber(ARGV[1]) then return incarnation end
return ''
