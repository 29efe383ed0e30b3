-- Queues a dead job again. KEYS: queue, abort, dead, complete. ARGV: prefix, channel, id.
-- Answers 1 queued, 0 it is not dead, -1 the dead letter has no job.
local queue, abort, dead, complete = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, channel, id = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local letter, job = dead .. ':' .. id, prefix .. 'job:' .. id

if redis.call('EXISTS', letter) == 0 or redis.call('EXISTS', job) == 1 then return 0 end
local body = redis.call('HGET', letter, 'body')
if not body then return -1 end
redis.call('DEL', letter, prefix .. 'result:' .. id, prefix .. 'retry:' .. id)
redis.call('ZREM', dead, id)
redis.call('ZREM', complete, id)
redis.call('ZREM', abort, id)
redis.call('SET', job, body, 'PX', 86400000)
redis.call('ZADD', queue, now, id)
redis.call('PUBLISH', channel, 'queued')
return 1
