-- Removes some records of a dead owner from one partition, each only if it still is the owner's.
-- KEYS: sessions, index of the owner, owners. ARGV: owner, how many at most (1000 or fewer).
-- Returns {sessions removed, index entries left}.
local owner = ARGV[1]
local addresses = redis.call('SRANDMEMBER', KEYS[2], ARGV[2])
local gone = {}
if #addresses > 0 then
  local old = redis.call('HMGET', KEYS[1], unpack(addresses))
  for i = 1, #addresses do
    local record = old[i]
    local space = record and string.find(record, ' ', 1, true)
    if space and string.sub(record, space + 1) == owner then
      gone[#gone + 1] = addresses[i]
    end
  end
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
  redis.call('SREM', KEYS[2], unpack(addresses))
end
local left = redis.call('SCARD', KEYS[2])
if left == 0 then redis.call('SREM', KEYS[3], owner) end
return {#gone, left}
