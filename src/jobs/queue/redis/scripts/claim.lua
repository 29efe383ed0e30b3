-- Takes due jobs. KEYS: queue, abort, leases. ARGV: prefix, want, lease, token, lost, again.
-- Answers {now, the next moment that something is due, {id, place, body, attempt, abort request}...}.
--
-- A claimed job's score becomes the end of its lease: what runs is out of the way of what waits, here and for arq's workers,
-- and is due by itself once its worker is gone.
local queue, abort, leases = KEYS[1], KEYS[2], KEYS[3]
local prefix, want, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local token, lost, again = ARGV[4], ARGV[5], ARGV[6] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local DAY, COUNTER_LIFE = 86400000, 88400
-- Entries that are passed over because arq's workers run them.
local MOST_PASSED = 20000

local jobs = {}

-- The answer to a command on a key of one job, whatever somebody put there.
local function tolerant(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then return nil end
  return answer
end

local function add(id, place, attempt)
  local key = prefix .. 'job:' .. id
  local body = tolerant('GET', key)
  if body == nil then body = '' end
  -- Its life counts from its last attempt.
  local life = redis.call('PTTL', key)
  if life >= 0 and life < DAY then redis.call('PEXPIRE', key, DAY) end
  redis.call('ZADD', queue, now + lease, id)
  redis.call('ZADD', leases, now + lease, id)
  local requested = redis.call('ZSCORE', abort, id)
  if requested then redis.call('ZREM', abort, id) end
  jobs[#jobs + 1] = {id, place, body, attempt, requested}
end

local function take(id, place)
  if not redis.call('SET', prefix .. 'in-progress:' .. id, token, 'NX', 'PX', lease) then return false end
  local counter = prefix .. 'retry:' .. id
  local attempt = tolerant('INCR', counter)
  if not attempt then
    attempt = 1
    redis.call('SET', counter, 1)
  end
  redis.call('EXPIRE', counter, COUNTER_LIFE)
  add(id, place, attempt)
  return true
end

-- The answer to an earlier claim, or to this one, did not arrive: what it took is handed out now.
if lost ~= '' or again then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, now, '+inf')) do
    local running = prefix .. 'in-progress:' .. id
    local holder = tolerant('GET', running)
    if holder and (holder == lost or (again and holder == token)) then
      redis.call('SET', running, token, 'PX', lease)
      add(id, tostring(now), tonumber(tolerant('GET', prefix .. 'retry:' .. id) or 1))
    end
  end
end

-- Of workers that are gone, ahead of all others. A little late, as a key may outlive its time by a moment.
if #jobs < want then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now - 5, 'LIMIT', 0, want - #jobs)) do
    redis.call('ZREM', leases, id)
    local score = redis.call('ZSCORE', queue, id)
    if score and tonumber(score) <= now then take(id, string.format('%.0f', now)) end
  end
end

local function scan(low, high)
  local page = math.max(10, math.min(100, want))
  local passed = 0
  while #jobs < want and passed < MOST_PASSED do
    local ids = redis.call('ZRANGEBYSCORE', queue, low, high, 'WITHSCORES', 'LIMIT', passed, page)
    for i = 1, #ids, 2 do
      if #jobs >= want then return end
      if not take(ids[i], ids[i + 1]) then passed = passed + 1 end
    end
    if #ids < 2 * page then return end
  end
end

-- What has the score 0 is in no queue by arq's rules.
scan('-inf', '(0')
scan('(0', now)

local next_due = false
if #jobs < want then
  next_due = redis.call('ZRANGEBYSCORE', queue, '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or false
end
return {now, next_due, jobs}
