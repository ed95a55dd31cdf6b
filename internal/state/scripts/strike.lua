-- Strikes a member off that has not beaten since it was seen.
-- KEYS members. ARGV identity, beats that were seen.
-- Returns 1 if it is no member any more, 0 if it has beaten.
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value and (string.match(value, '^(%d+)|') or '0') ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
