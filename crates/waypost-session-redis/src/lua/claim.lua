-- Makes one owner the holder of addresses of one or more partitions.
-- KEYS: what the keys of each partition begin with. ARGV: owner, how many addresses of each partition, addresses...
-- Returns {seq} when every address was free, else {seq, {record or nil, ...}}.
local owner = ARGV[1]
local partitions = #KEYS
local counters = {}
for p = 1, partitions do counters[p] = KEYS[p] .. 'c' end
local time = redis.call('TIME')
local seq = time[1] * 1000000 + time[2]
local given = redis.call('MGET', unpack(counters))
for p = 1, partitions do
  local last = tonumber(given[p] or '0') or 0
  if seq <= last then seq = last + 1 end
end
-- '%.0f' is exact for whole numbers below 2^53; tostring() is not.
local text = string.format('%.0f', seq)
local set = {}
for p = 1, partitions do
  set[2 * p - 1] = counters[p]
  set[2 * p] = text
end
-- First, because it is refused when the server is out of memory: then nothing has been written yet.
redis.call('MSET', unpack(set))
local record = text .. ' ' .. owner
local answer = nil
local first = partitions + 2
for p = 1, partitions do
  local base = KEYS[p]
  local count = tonumber(ARGV[p + 1])
  local last = first + count - 1
  local old = redis.call('HMGET', base .. 's', unpack(ARGV, first, last))
  local put = {}
  local displaced = nil
  for i = 1, count do
    local address = ARGV[first + i - 1]
    put[2 * i - 1] = address
    put[2 * i] = record
    local was = old[i]
    if was then
      if not answer then
        answer = {}
        for j = 1, #ARGV - partitions - 1 do answer[j] = false end
      end
      answer[first + i - 2 - partitions] = was
      -- Without it others have written there: nobody is displaced.
      local space = string.find(was, ' ', 1, true)
      local other = space and string.sub(was, space + 1)
      if other and other ~= owner then
        displaced = displaced or {}
        local list = displaced[other]
        if list then list[#list + 1] = address else displaced[other] = {address} end
      end
    end
  end
  redis.call('HSET', base .. 's', unpack(put))
  redis.call('SADD', base .. 'o', owner)
  redis.call('SADD', base .. 'i:' .. owner, unpack(ARGV, first, last))
  if displaced then
    for other, list in pairs(displaced) do
      redis.call('SREM', base .. 'i:' .. other, unpack(list))
    end
  end
  first = last + 1
end
if answer then return {text, answer} end
return {text}
