-- Puts back sessions of one partition that may have been lost, each unless a claim with a greater seq stands there.
-- KEYS: counter, sessions, owners, index of the owner.
-- ARGV: owner, prefix of the partition's indexes, addresses..., their seqs...
-- Returns a flat list of those that were lost: position from 1, the record that stands there, ...
local owner = ARGV[1]
local n = (#ARGV - 2) / 2
local old = redis.call('HMGET', KEYS[2], unpack(ARGV, 3, n + 2))
local lost, put, held, displaced = {}, {}, {}, {}
local top, top_text = 0, nil
for i = 1, n do
  local address, seq = ARGV[i + 2], ARGV[n + 2 + i]
  local was = old[i]
  local mine = seq .. ' ' .. owner
  local number = tonumber(seq)
  if was == mine then
    held[#held + 1] = address
  else
    local space = was and string.find(was, ' ', 1, true)
    local standing = was and tonumber(string.sub(was, 1, space - 1))
    -- The same claim under an older incarnation of the same identity moves to this one.
    local same = false
    if was and standing == number then
      local then_inc, then_name = string.match(was, '^%d+ (%d+) (.*)$')
      local now_inc, now_name = string.match(owner, '^(%d+) (.*)$')
      same = then_name == now_name and tonumber(then_inc) < tonumber(now_inc)
    end
    if was and standing >= number and not same then
      lost[#lost + 1] = i
      lost[#lost + 1] = was
    else
      put[#put + 1] = address
      put[#put + 1] = mine
      held[#held + 1] = address
      if was then
        local other = string.sub(was, space + 1)
        if other ~= owner then
          local list = displaced[other]
          if list then list[#list + 1] = address else displaced[other] = {address} end
        end
      end
    end
  end
  if number > top then top, top_text = number, seq end
end
-- No later claim may get a seq that was given before.
if top > tonumber(redis.call('GET', KEYS[1]) or '0') then redis.call('SET', KEYS[1], top_text) end
if #put > 0 then redis.call('HSET', KEYS[2], unpack(put)) end
if #held > 0 then
  redis.call('SADD', KEYS[3], owner)
  redis.call('SADD', KEYS[4], unpack(held))
end
for other, list in pairs(displaced) do
  redis.call('SREM', ARGV[2] .. other, unpack(list))
end
return lost
