-- Jobs as they are. KEYS: queue, dead. ARGV: prefix, then ids.
-- Answers {now, {id, score, is it running, attempts, body, result, {reason, at, attempts, body} of a dead letter}...}.
local queue, dead, prefix = KEYS[1], KEYS[2], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function tolerant(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then return false end
  return answer
end

local jobs = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  jobs[#jobs + 1] = {
    id,
    redis.call('ZSCORE', queue, id),
    redis.call('EXISTS', prefix .. 'in-progress:' .. id),
    tolerant('GET', prefix .. 'retry:' .. id),
    tolerant('GET', prefix .. 'job:' .. id),
    tolerant('GET', prefix .. 'result:' .. id),
    tolerant('HMGET', dead .. ':' .. id, 'reason', 'at', 'attempts', 'body'),
  }
end
return {now, jobs}
