-- Makes a process a member, and strikes off whoever has its name: a container that
-- is started again does not have to wait for itself. A data set that is new is
-- dated.
-- KEYS members. ARGV identity, name with the slash after it, value.
-- Returns when the data set began, and who was struck off or "".
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local born = redis.call('HGET', KEYS[1], '#born')
if not born then
  born = string.format('%.0f', now)
  redis.call('HSET', KEYS[1], '#born', born)
end
local before = ''
local prefix, length = ARGV[2], #ARGV[1]
for _, identity in ipairs(redis.call('HKEYS', KEYS[1])) do
  if identity ~= ARGV[1] and #identity == length and string.sub(identity, 1, #prefix) == prefix then
    redis.call('HDEL', KEYS[1], identity)
    before = identity
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {born, before}
