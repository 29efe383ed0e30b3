-- Renews leases. KEYS: queue, leases. ARGV: prefix, lease, then per lease: id, token, attempt.
-- Answers per lease: 1 held, 0 lost.
local queue, leases = KEYS[1], KEYS[2]
local prefix, lease = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local DAY, COUNTER_LIFE = 86400000, 88400

local answers = {}
for i = 3, #ARGV, 3 do
  local id, token, attempt = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local running, counter = prefix .. 'in-progress:' .. id, prefix .. 'retry:' .. id
  local holder = redis.pcall('GET', running)
  -- It ran out, and nobody has begun another attempt since.
  local is_free = holder == false and redis.pcall('GET', counter) == attempt
  if (holder == token or is_free) and redis.call('ZSCORE', queue, id) then
    redis.call('SET', running, token, 'PX', lease)
    redis.call('SET', counter, attempt, 'EX', COUNTER_LIFE)
    redis.call('ZADD', queue, now + lease, id)
    redis.call('ZADD', leases, now + lease, id)
    local job = prefix .. 'job:' .. id
    local life = redis.call('PTTL', job)
    if life >= 0 and life < DAY then redis.call('PEXPIRE', job, DAY) end
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
end
return answers
