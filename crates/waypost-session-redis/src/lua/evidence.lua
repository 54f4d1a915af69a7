-- What changes when this server may have lost acknowledged writes. KEYS: marker. Returns {run id, marker}.
-- The marker is the time of its making: an emptied server makes a new one.
local marker = redis.call('GET', KEYS[1])
if not marker then
  local time = redis.call('TIME')
  marker = time[1] .. '.' .. time[2]
  redis.call('SET', KEYS[1], marker)
end
-- Without permission for INFO only emptying is noticed.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
return {run_id, marker}
