-- Writes rows of one view, and of two rows of one key the newer.
-- KEYS: one hash per row. ARGV: field of the event timestamp, seconds to live (0: for ever), number of features; their fields;
-- then per row: event timestamp, values.
-- Returns how many rows were written.
local args, call, byte, unpack = ARGV, redis.call, string.byte, unpack
local ts_field, ttl, n = args[1], tonumber(args[2]), tonumber(args[3])

-- One varint among the bytes, from position i: its value as a signed number, and the position behind it. A negative number
-- has ten bytes; it is read through its complement, so that no precision is lost.
local function varint(bytes, i)
  local value, complement, scale, first = 0, 0, 1, i
  while true do
    local b = bytes[i]
    if not b then break end
    i = i + 1
    if i - first <= 9 then
      value = value + (b % 128) * scale
      complement = complement + (127 - b % 128) * scale
      scale = scale * 128
    end
    if b < 128 then break end
  end
  if i - first >= 10 then return -complement - 1, i end
  return value, i
end

-- A google.protobuf.Timestamp, which has 17 bytes at most.
local function timestamp(text)
  local bytes = {byte(text, 1, 24)}
  local seconds, nanos, i = 0, 0, 1
  while bytes[i] do
    local tag = bytes[i]
    local value
    value, i = varint(bytes, i + 1)
    if tag == 8 then seconds = value elseif tag == 16 then nanos = value else break end
  end
  return seconds, nanos
end

local function is_stale(stored, new)
  if stored == '' then return false end
  if stored == new then return true end
  local seconds, nanos = timestamp(stored)
  if seconds == 0 and nanos == 0 then return false end
  local new_seconds, new_nanos = timestamp(new)
  return new_seconds < seconds or (new_seconds == seconds and new_nanos <= nanos)
end

-- One table for all rows: timestamp, then features, each behind its field. Only the values change.
local row, length = {ts_field}, 2 * n + 2
for f = 1, n do row[2 * f + 1] = args[f + 3] end

local written, at = 0, n + 4
for r = 1, #KEYS do
  local key, new = KEYS[r], args[at]
  local stored = call('HGET', key, ts_field)
  if not stored or not is_stale(stored, new) then
    row[2] = new
    for f = 1, n do row[2 * f + 2] = args[at + f] end
    -- Lua can pass only so many arguments at once.
    for first = 1, length, 2000 do
      call('HSET', key, unpack(row, first, math.min(first + 1999, length)))
    end
    if ttl > 0 then call('EXPIRE', key, ttl) end
    written = written + 1
  end
  at = at + n + 1
end
return written
