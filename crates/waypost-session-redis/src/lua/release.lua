-- Frees addresses of one or more partitions that are held by exactly this owner with exactly this seq.
-- KEYS: what the keys of each partition begin with.
-- ARGV: owner, how many addresses of each partition, addresses..., their seqs...
-- Returns one character an address: '1' freed, '0' not the owner's.
local partitions = #KEYS
local record = ' ' .. ARGV[1]
local n = (#ARGV - partitions - 1) / 2
local answer = {}
local first = partitions + 2
for p = 1, partitions do
  local base = KEYS[p]
  local last = first + tonumber(ARGV[p + 1]) - 1
  local old = redis.call('HMGET', base .. 's', unpack(ARGV, first, last))
  local freed = {}
  for i = first, last do
    if old[i - first + 1] == ARGV[n + i] .. record then
      freed[#freed + 1] = ARGV[i]
      answer[#answer + 1] = '1'
    else
      answer[#answer + 1] = '0'
    end
  end
  if #freed > 0 then
    redis.call('HDEL', base .. 's', unpack(freed))
    redis.call('SREM', base .. 'i:' .. ARGV[1], unpack(freed))
  end
  first = last + 1
end
return table.concat(answer)
