-- Puts back sessions of one or more partitions that may have been lost, each unless a claim with a greater seq stands
-- there.
-- KEYS: what the keys of each partition begin with.
-- ARGV: owner, how many addresses of each partition, addresses..., their seqs...
-- Returns a flat list of those that were lost: position from 1, the record that stands there, ...
-- What is no record of ours counts as missing.

-- Every sequence of bytes that is one character beyond ASCII.
local after = '[\128-\191]'
local characters = {
  '[\194-\223]' .. after,
  '\224[\160-\191]' .. after,
  '[\225-\236\238\239]' .. after .. after,
  '\237[\128-\159]' .. after,
  '\240[\144-\191]' .. after .. after,
  '[\241-\243]' .. after .. after .. after,
  '\244[\128-\143]' .. after .. after,
}
-- Seq as a number, incarnation and identity of a record; nothing where the caller could not read it.
local function read(record)
  local seq, incarnation, identity = string.match(record, '^(%d+) (%d+) (.+)$')
  if not seq or #seq > 19 or #incarnation > 19 or #identity > 128 then return nil end
  local rest = identity
  if string.find(rest, '[\128-\255]') then
    for _, character in ipairs(characters) do rest = string.gsub(rest, character, 'x') end
    if string.find(rest, '[\128-\255]') then return nil end
  end
  return tonumber(seq), incarnation, identity
end

local partitions = #KEYS
local owner = ARGV[1]
local n = (#ARGV - partitions - 1) / 2
local lost = {}
local first = partitions + 2
for p = 1, partitions do
  local base = KEYS[p]
  local last = first + tonumber(ARGV[p + 1]) - 1
  local old = redis.call('HMGET', base .. 's', unpack(ARGV, first, last))
  local put, held, displaced = {}, {}, {}
  local top, top_text = 0, nil
  for i = first, last do
    local address, seq = ARGV[i], ARGV[n + i]
    local was = old[i - first + 1]
    local mine = seq .. ' ' .. owner
    local number = tonumber(seq)
    if was == mine then
      held[#held + 1] = address
    else
      local standing, then_inc, then_name
      if was then standing, then_inc, then_name = read(was) end
      -- The same claim under an older incarnation of the same identity moves to this one.
      local same = false
      if standing == number then
        local now_inc, now_name = string.match(owner, '^(%d+) (.*)$')
        same = then_name == now_name and tonumber(then_inc) < tonumber(now_inc)
      end
      if standing and standing >= number and not same then
        lost[#lost + 1] = i - partitions - 1
        lost[#lost + 1] = was
      else
        put[#put + 1] = address
        put[#put + 1] = mine
        held[#held + 1] = address
        if standing then
          local other = then_inc .. ' ' .. then_name
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
  if top > (tonumber(redis.call('GET', base .. 'c') or '0') or 0) then redis.call('SET', base .. 'c', top_text) end
  if #put > 0 then redis.call('HSET', base .. 's', unpack(put)) end
  if #held > 0 then
    redis.call('SADD', base .. 'o', owner)
    redis.call('SADD', base .. 'i:' .. owner, unpack(held))
  end
  for other, list in pairs(displaced) do
    redis.call('SREM', base .. 'i:' .. other, unpack(list))
  end
  first = last + 1
end
return lost
