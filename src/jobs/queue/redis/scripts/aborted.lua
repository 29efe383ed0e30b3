-- Which running jobs were asked to end. KEYS: abort. ARGV: prefix, then ids. Answers the ids.
local abort, prefix = KEYS[1], ARGV[1]
if redis.call('EXISTS', abort) == 0 then return {} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What has neither a job nor a run would kill the next job of its id.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', abort, '-inf', now - 5000, 'LIMIT', 0, 100)) do
  if redis.call('EXISTS', prefix .. 'job:' .. id, prefix .. 'in-progress:' .. id) == 0 then
    redis.call('ZREM', abort, id)
  end
end
local requested = {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', abort, ARGV[i]) then requested[#requested + 1] = ARGV[i] end
end
return requested
