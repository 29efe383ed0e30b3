-- How much waits. KEYS: queue, leases, dead, report.
-- Answers {queued, all, running, dead, how long the head has been due in ms, report}.
local queue, leases, dead, report = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)[2]
return {
  redis.call('ZCOUNT', queue, '-inf', now),
  redis.call('ZCARD', queue),
  redis.call('ZCOUNT', leases, now, '+inf'),
  redis.call('ZCARD', dead),
  head and math.max(0, now - tonumber(head)) or false,
  redis.pcall('GET', report),
}
