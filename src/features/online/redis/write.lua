-- Writes rows of one view, and of two rows of one key the newer.
-- KEYS: one hash per row. ARGV: field of the event timestamp, seconds to live (0: for ever), 1 to pass over rows that are not
-- newer than what is stored, number of features; their fields; then per row: event timestamp, values.
-- Returns how many rows were written.
local ts_field, ttl, check, n = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])

-- One varint from position i: its value as a signed number, and the position behind it. A negative number has ten bytes;
-- it is read through its complement, so that no precision is lost.
local function varint(bytes, i)
  local value, complement, scale, first = 0, 0, 1, i
  while true do
    local byte = string.byte(bytes, i)
    if not byte then break end
    i = i + 1
    if i - first <= 9 then
      value = value + (byte % 128) * scale
      complement = complement + (127 - byte % 128) * scale
      scale = scale * 128
    end
    if byte < 128 then break end
  end
  if i - first >= 10 then return -complement - 1, i end
  return value, i
end

-- A google.protobuf.Timestamp.
local function timestamp(bytes)
  local seconds, nanos, i = 0, 0, 1
  while i <= #bytes do
    local tag = string.byte(bytes, i)
    local value
    value, i = varint(bytes, i + 1)
    if tag == 8 then seconds = value elseif tag == 16 then nanos = value else break end
  end
  return seconds, nanos
end

local function stale(key, new)
  local stored = redis.call('HGET', key, ts_field)
  if not stored then return false end
  local seconds, nanos = timestamp(stored)
  if seconds == 0 and nanos == 0 then return false end
  local new_seconds, new_nanos = timestamp(new)
  return new_seconds < seconds or (new_seconds == seconds and new_nanos <= nanos)
end

local written = 0
for row, key in ipairs(KEYS) do
  local at = 4 + n + (row - 1) * (n + 1) + 1
  if not (check and stale(key, ARGV[at])) then
    -- Lua can pass only so many arguments at once.
    local pairs_of = {ts_field, ARGV[at]}
    for i = 1, n do
      pairs_of[#pairs_of + 1] = ARGV[4 + i]
      pairs_of[#pairs_of + 1] = ARGV[at + i]
      if #pairs_of >= 2000 then
        redis.call('HSET', key, unpack(pairs_of))
        pairs_of = {}
      end
    end
    if #pairs_of > 0 then redis.call('HSET', key, unpack(pairs_of)) end
    if ttl > 0 then redis.call('EXPIRE', key, ttl) end
    written = written + 1
  end
end
return written
