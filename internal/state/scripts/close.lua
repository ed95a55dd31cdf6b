-- Releases a state, if it is the owner of record that does so.
-- KEYS record. ARGV identity, epoch. Returns 1 if it is released.
local record = redis.call('HMGET', KEYS[1], 'o', 'e')
if record[2] ~= ARGV[2] or (record[1] ~= ARGV[1] and record[1] ~= '') then
  return 0
end
redis.call('HSET', KEYS[1], 'o', '')
return 1
