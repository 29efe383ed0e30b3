-- Deletes one view from hashes that other views may share.
-- KEYS: hashes. ARGV: field of the view's event timestamp, then the fields of its features.
-- Returns from how many hashes it was deleted.
local deleted = 0
for _, key in ipairs(KEYS) do
  local fields = redis.pcall('HKEYS', key)
  local has_view, has_others = false, false
  if not fields.err then
    for _, field in ipairs(fields) do
      if field == ARGV[1] then
        has_view = true
      elseif #field > 4 and string.sub(field, 1, 4) == '_ts:' then
        has_others = true
      end
    end
  end
  if has_view then
    if has_others then
      -- Lua can pass only so many arguments at once.
      for first = 1, #ARGV, 2000 do
        redis.call('HDEL', key, unpack(ARGV, first, math.min(first + 1999, #ARGV)))
      end
    else
      redis.call('DEL', key)
    end
    deleted = deleted + 1
  end
end
return deleted
