-- Keeps what is damaged under another key, for a while, if it is the owner of record
-- that finds it so. Rows are renamed; a ledger is copied, and its next save replaces it.
-- KEYS record, key to keep it under, and rows if it is those. ARGV identity, epoch,
-- how long it is kept in seconds. Returns 1 if it is the owner of record.
local record = redis.call('HMGET', KEYS[1], 'o', 'e', 'l')
if record[2] ~= ARGV[2] or record[1] ~= ARGV[1] then
  return 0
end
if not KEYS[3] then
  redis.call('HSET', KEYS[2], 'l', record[3] or '')
elseif redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('RENAME', KEYS[3], KEYS[2])
end
redis.call('EXPIRE', KEYS[2], tonumber(ARGV[3]))
return 1
