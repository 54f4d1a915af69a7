-- Makes one owner the holder of addresses of one partition.
-- KEYS: counter, sessions, owners, index of the owner. ARGV: owner, prefix of the partition's indexes, addresses...
-- Returns {seq} when every address was free, else {seq, {record or nil, ...}}.
local time = redis.call('TIME')
local seq = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if seq <= last then seq = last + 1 end
-- '%.0f' is exact for whole numbers below 2^53; tostring() is not.
local text = string.format('%.0f', seq)
-- First, because it is refused when the server is out of memory: then nothing has been written yet.
redis.call('SET', KEYS[1], text)
local owner = ARGV[1]
local old = redis.call('HMGET', KEYS[2], unpack(ARGV, 3))
local record = text .. ' ' .. owner
local put = {}
local displaced = nil
local any = false
for i = 1, #ARGV - 2 do
  local address = ARGV[i + 2]
  put[2 * i - 1] = address
  put[2 * i] = record
  local was = old[i]
  if was then
    any = true
    local other = string.sub(was, string.find(was, ' ', 1, true) + 1)
    if other ~= owner then
      displaced = displaced or {}
      local list = displaced[other]
      if list then list[#list + 1] = address else displaced[other] = {address} end
    end
  end
end
redis.call('HSET', KEYS[2], unpack(put))
redis.call('SADD', KEYS[3], owner)
redis.call('SADD', KEYS[4], unpack(ARGV, 3))
if displaced then
  for other, list in pairs(displaced) do
    redis.call('SREM', ARGV[2] .. other, unpack(list))
  end
end
if any then return {text, old} end
return {text}
