-- Who holds addresses of one or more partitions.
-- KEYS: what the keys of each partition begin with.
-- ARGV: prefix of the leases, or '' where they live on other servers (Cluster), how many addresses of each partition,
-- addresses...
-- Returns {record or nil, ...}; with a prefix, records of dead owners are nil.
local partitions = #KEYS
local leases = ARGV[1]
local live = {}
local answer = {}
local first = partitions + 2
for p = 1, partitions do
  local count = tonumber(ARGV[p + 1])
  local old = redis.call('HMGET', KEYS[p] .. 's', unpack(ARGV, first, first + count - 1))
  for i = 1, count do
    local record = old[i]
    if record and leases ~= '' then
      local owner = string.sub(record, string.find(record, ' ', 1, true) + 1)
      local is = live[owner]
      if is == nil then
        local space = string.find(owner, ' ', 1, true)
        local lease = redis.call('GET', leases .. string.sub(owner, space + 1))
        is = lease and string.sub(lease, 1, space) == string.sub(owner, 1, space)
        live[owner] = is
      end
      if not is then record = false end
    end
    answer[first + i - partitions - 2] = record
  end
  first = first + count
end
return answer
