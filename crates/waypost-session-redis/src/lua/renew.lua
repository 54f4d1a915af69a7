-- Renews leases for another term of their own. KEYS: leases. ARGV: location, their incarnations...
-- Returns for each: '1' renewed, '' gone, or the newer incarnation.
local answer = {}
for i = 1, #KEYS do
  local mine = ARGV[i + 1]
  local lease = redis.call('GET', KEYS[i])
  if not lease then
    answer[i] = ''
  else
    local incarnation, counter, state, term = string.match(lease, '^(%d+) (%d+) (%a) (%d+) ')
    if incarnation == mine then
      -- Not '%s' for the location: string.format() ends it at a NUL.
      local head = string.format('%s %.0f %s %s ', incarnation, counter + 1, state, term)
      redis.call('SET', KEYS[i], head .. ARGV[1], 'PX', term)
      answer[i] = '1'
    elseif incarnation and tonumber(incarnation) > tonumber(mine) then
      answer[i] = incarnation
    else
      answer[i] = ''
    end
  end
end
return answer
