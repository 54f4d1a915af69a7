-- Who holds addresses of one partition.
-- KEYS: sessions. ARGV: prefix of the leases, or '' where they live on other servers (Cluster), addresses...
-- Returns {record or nil, ...}; with a prefix, records of dead owners are nil.
local old = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
if ARGV[1] == '' then return old end
local live = {}
for i = 1, #ARGV - 1 do
  local record = old[i]
  if record then
    local owner = string.sub(record, string.find(record, ' ', 1, true) + 1)
    local is = live[owner]
    if is == nil then
      local space = string.find(owner, ' ', 1, true)
      local lease = redis.call('GET', ARGV[1] .. string.sub(owner, space + 1))
      is = lease and string.sub(lease, 1, space) == string.sub(owner, 1, space)
      live[owner] = is
    end
    if not is then old[i] = false end
  end
end
return old
