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
    local from = record and leases ~= '' and string.find(record, ' ', 1, true)
    local to = from and string.find(record, ' ', from + 1, true)
    -- Without these others have written there, which the caller sees.
    if to then
      local owner = string.sub(record, from + 1)
      local is = live[owner]
      if is == nil then
        local lease = redis.call('GET', leases .. string.sub(record, to + 1))
        is = lease and string.sub(lease, 1, to - from) == string.sub(record, from + 1, to)
        live[owner] = is
      end
      if not is then record = false end
    end
    answer[first + i - partitions - 2] = record
  end
  first = first + count
end
return answer
