-- The live leases; forgets members whose lease is over. KEYS: members. ARGV: prefix of the leases.
-- Returns a flat list: identity, lease, ...
local answer, dead = {}, {}
local members = redis.call('SMEMBERS', KEYS[1])
-- In steps, because Lua's unpack has a bound.
for from = 1, #members, 1000 do
  local to = math.min(from + 999, #members)
  local keys = {}
  for i = from, to do keys[#keys + 1] = ARGV[1] .. members[i] end
  local leases = redis.call('MGET', unpack(keys))
  for i = from, to do
    local lease = leases[i - from + 1]
    if lease then
      answer[#answer + 1] = members[i]
      answer[#answer + 1] = lease
    else
      dead[#dead + 1] = members[i]
    end
  end
end
for from = 1, #dead, 1000 do
  redis.call('SREM', KEYS[1], unpack(dead, from, math.min(from + 999, #dead)))
end
return answer
