-- Frees addresses of one partition that are held by exactly this owner with exactly this seq.
-- KEYS: sessions, index of the owner. ARGV: owner, addresses..., their seqs...
-- Returns one character an address: '1' freed, '0' not the owner's.
local owner = ARGV[1]
local n = (#ARGV - 1) / 2
local old = redis.call('HMGET', KEYS[1], unpack(ARGV, 2, n + 1))
local answer, freed = {}, {}
for i = 1, n do
  if old[i] == ARGV[n + 1 + i] .. ' ' .. owner then
    freed[#freed + 1] = ARGV[i + 1]
    answer[i] = '1'
  else
    answer[i] = '0'
  end
end
if #freed > 0 then
  redis.call('HDEL', KEYS[1], unpack(freed))
  redis.call('SREM', KEYS[2], unpack(freed))
end
return table.concat(answer)
