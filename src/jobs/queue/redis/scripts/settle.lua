-- Ends attempts. KEYS: queue, abort, leases, dead, complete.
-- ARGV: prefix, channel, again, how long and how many dead letters are kept,
--   then per settlement: id, token, attempt, kind, result, keep, reason, ms.
-- kind: "complete" | "dead" | "retry" (in ms) | "release" (to the place ms) | "bury" (an unusable id, whose result is a usable one).
-- keep: in ms, 0 for not at all, -1 for ever.
-- Answers per settlement: 1 held, 0 lost.
local queue, abort, leases, dead, complete = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, channel, again = ARGV[1], ARGV[2], ARGV[3] == '1'
local keep_dead, most_dead = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local DAY, COUNTER_LIFE = 86400000, 88400000

local function drop_dead(ids)
  for _, id in ipairs(ids) do
    redis.call('ZREM', dead, id)
    redis.call('DEL', dead .. ':' .. id)
  end
end

local function bury(id, job, attempt, reason)
  local letter = dead .. ':' .. id
  local body = redis.pcall('GET', job)
  redis.call('DEL', letter)
  redis.call('HSET', letter, 'reason', reason, 'at', string.format('%.0f', now), 'attempts', attempt)
  if type(body) == 'string' then redis.call('HSET', letter, 'body', body) end
  redis.call('PEXPIRE', letter, keep_dead)
  redis.call('ZADD', dead, now, id)
  drop_dead(redis.call('ZRANGEBYSCORE', dead, '-inf', now - keep_dead, 'LIMIT', 0, 100))
  local too_many = redis.call('ZCARD', dead) - most_dead
  if too_many > 0 then drop_dead(redis.call('ZRANGE', dead, 0, math.min(too_many, 100) - 1)) end
end

local answers, is_any_queued = {}, false
for i = 6, #ARGV, 8 do
  local id, token, attempt, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local result, keep, reason, ms = ARGV[i + 4], tonumber(ARGV[i + 5]), ARGV[i + 6], tonumber(ARGV[i + 7])
  local running, counter = prefix .. 'in-progress:' .. id, prefix .. 'retry:' .. id
  local job, answer = prefix .. 'job:' .. id, prefix .. 'result:' .. id
  local holder = redis.pcall('GET', running)
  -- It ran out, and nobody has begun another attempt since.
  local is_free = holder == false and redis.pcall('GET', counter) == attempt and redis.call('ZSCORE', queue, id)
  if holder ~= token and not is_free then
    -- Sent twice because the connection dropped: the first one may have done it.
    local is_done = again and result ~= '' and redis.pcall('GET', answer) == result
    answers[#answers + 1] = is_done and 1 or 0
  else
    if kind == 'retry' then
      redis.call('ZADD', queue, 'XX', now + ms, id)
      redis.call('SET', counter, attempt, 'PX', ms + COUNTER_LIFE)
      local life = redis.call('PTTL', job)
      if life >= 0 and life < ms + DAY then redis.call('PEXPIRE', job, ms + DAY) end
      redis.call('DEL', running)
      is_any_queued = true
    elseif kind == 'release' then
      redis.call('ZADD', queue, 'XX', ARGV[i + 7], id)
      redis.call('SET', counter, tonumber(attempt) - 1, 'PX', COUNTER_LIFE)
      redis.call('DEL', running)
      is_any_queued = true
    elseif kind == 'bury' then
      bury(result, job, attempt, reason)
      redis.call('ZREM', queue, id)
      redis.call('DEL', running, counter, job)
    else
      if keep < 0 then
        redis.call('SET', answer, result)
        redis.call('ZADD', complete, '+inf', id)
      elseif keep > 0 then
        redis.call('SET', answer, result, 'PX', keep)
        redis.call('ZADD', complete, now + keep, id)
      end
      if kind == 'dead' then
        bury(id, job, attempt, reason)
      end
      redis.call('ZREM', abort, id)
      redis.call('ZREM', queue, id)
      redis.call('DEL', running, counter, job)
      redis.call('PUBLISH', channel, 'ended:' .. id)
    end
    redis.call('ZREM', leases, id)
    answers[#answers + 1] = 1
  end
end
redis.call('ZREMRANGEBYSCORE', complete, '-inf', now)
if is_any_queued then redis.call('PUBLISH', channel, 'queued') end
return answers
