-- Asks for the end of a job. KEYS: queue, abort, dead. ARGV: prefix, channel, id.
-- Answers 1 requested, 0 it has ended, -1 not found.
local queue, abort, dead = KEYS[1], KEYS[2], KEYS[3]
local prefix, channel, id = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if not redis.call('ZSCORE', queue, id) then
  if redis.call('EXISTS', prefix .. 'result:' .. id, dead .. ':' .. id) > 0 then return 0 end
  return -1
end
redis.call('ZADD', abort, now, id)
if redis.call('EXISTS', prefix .. 'in-progress:' .. id) == 0 then
  -- The next one to be picked up, however many wait.
  redis.call('ZADD', queue, 1, id)
end
redis.call('PUBLISH', channel, 'abort')
return 1
