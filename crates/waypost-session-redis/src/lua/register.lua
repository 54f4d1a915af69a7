-- Gives an identity a new incarnation and its lease.
-- KEYS: counter, members, lease. ARGV: identity, location, term in ms. Returns the incarnation.
local time = redis.call('TIME')
local incarnation = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if incarnation <= last then incarnation = last + 1 end
local text = string.format('%.0f', incarnation)
redis.call('SET', KEYS[1], text)
redis.call('SET', KEYS[3], text .. ' 1 l ' .. ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
return text
