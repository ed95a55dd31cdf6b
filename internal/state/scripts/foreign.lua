-- Keeps what is not of this program's making under other keys, for a while, where it
-- stands in the place of a record, of what was handed in, or of rows.
-- KEYS record, spent, rows, and what to keep each under. ARGV how long that is kept in
-- seconds, and 1 if nobody here knows the ledger: then one that cannot be read is in its
-- place, for calls may have been made.
-- Returns how many are kept.
local kept, lost = 0, false
for i = 1, 3 do
  local found
  if i == 2 then
    found = redis.pcall('LRANGE', KEYS[i], 0, 0)
  else
    found = redis.pcall('HEXISTS', KEYS[i], 'o')
  end
  if type(found) == 'table' and found.err and string.find(found.err, 'WRONGTYPE', 1, true) then
    redis.call('RENAME', KEYS[i], KEYS[i + 3])
    redis.call('EXPIRE', KEYS[i + 3], tonumber(ARGV[1]))
    lost = lost or i < 3
  end
  kept = kept + redis.call('EXISTS', KEYS[i + 3])
end
if lost and ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'l', '')
end
return kept
