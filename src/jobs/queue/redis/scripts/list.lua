-- Ids of a sorted set from a place on. KEYS: the set. ARGV: order, low, high, score and id of the last one seen (or ""), limit.
-- order: "up" | "down". low, high: bounds of scores, where "now" is the time here. Answers {now, id, score, id, score...}.
local set = KEYS[1]
local order, low, high, score, id, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
low, high = string.gsub(low, 'now', now), string.gsub(high, 'now', now)

local members
if order == 'down' then
  local offset = 0
  if score ~= '' then
    high = score
    local rank = redis.call('ZSCORE', set, id) == score and redis.call('ZREVRANK', set, id)
    if rank then offset = rank + 1 - redis.call('ZCOUNT', set, '(' .. score, '+inf') end
  end
  members = redis.call('ZREVRANGEBYSCORE', set, high, low, 'WITHSCORES', 'LIMIT', offset, limit)
else
  local offset = 0
  if score ~= '' then
    low = score
    local rank = redis.call('ZSCORE', set, id) == score and redis.call('ZRANK', set, id)
    if rank then offset = rank + 1 - redis.call('ZCOUNT', set, '-inf', '(' .. score) end
  end
  members = redis.call('ZRANGEBYSCORE', set, low, high, 'WITHSCORES', 'LIMIT', offset, limit)
end
table.insert(members, 1, now)
return members
