-- Says that a member lives. Who is not in the list was struck off, unless this is
-- not the data set that it joined: then nobody has struck it off, the list was lost.
-- KEYS members. ARGV identity, value, when the data set began that it knows.
-- Returns 0, or when the data set began, and all there is in it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local born = redis.call('HGET', KEYS[1], '#born')
if not born then
  born = string.format('%.0f', now)
  redis.call('HSET', KEYS[1], '#born', born)
end
if born == ARGV[3] and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return {'0'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {born, redis.call('HGETALL', KEYS[1])}
