-- Adds jobs whose id is free. KEYS: queue, abort, dead. ARGV: prefix, channel, again, then per job: id, body, due, life.
-- due: "+ms" from now, or the moment. life: in ms from now on, or "" for a day past the moment that it is due.
-- Answers per job: 1 new, 0 duplicate, -1 would expire before it is due.
local queue, abort, dead = KEYS[1], KEYS[2], KEYS[3]
local prefix, channel, again = ARGV[1], ARGV[2], ARGV[3] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local DAY = 86400000

local answers, is_any_new = {}, false
for i = 4, #ARGV, 4 do
  local id, body, due, life = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local job = prefix .. 'job:' .. id
  local score = tonumber(due)
  if string.sub(due, 1, 1) == '+' then score = now + score end
  life = tonumber(life) or math.max(score - now, 0) + DAY
  if life <= 0 or now + life <= score then
    answers[#answers + 1] = -1
  elseif redis.call('EXISTS', job, prefix .. 'result:' .. id) > 0 then
    -- Sent twice because the connection dropped: what the first one added is new.
    local is_ours = again and redis.pcall('GET', job) == body
    answers[#answers + 1] = is_ours and 1 or 0
  else
    redis.call('SET', job, body, 'PX', life)
    redis.call('ZADD', queue, score, id)
    -- Left over from another job of this id.
    redis.call('ZREM', abort, id)
    redis.call('ZREM', dead, id)
    redis.call('DEL', dead .. ':' .. id)
    if redis.call('EXISTS', prefix .. 'in-progress:' .. id) == 0 then
      redis.call('DEL', prefix .. 'retry:' .. id)
    end
    answers[#answers + 1] = 1
    is_any_new = true
  end
end
if is_any_new then redis.call('PUBLISH', channel, 'queued') end
return answers
