-- Records a ledger, if it is the owner of record's. An owner that is newer than the
-- record writes itself back: the engine has lost its record, or came back as it was
-- earlier. What another one has spent meanwhile then counts as handed in.
-- KEYS record, spent. ARGV identity, epoch, number of this ledger in the epoch, ledger,
-- how many of the handed-in ledgers to return, and those that the ledger contains.
-- Returns 0 if it is not recorded; or 1, and what was handed in, each after its age
-- in milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'o', 'e', 'l', 'lt', 'n')
local owner, epoch, mine = record[1] or '', tonumber(record[2] or 0), tonumber(ARGV[2])
if epoch > mine or (epoch == mine and owner ~= ARGV[1]) then
  return {0}
end
if epoch == mine and tonumber(record[5] or 0) > tonumber(ARGV[3]) then
  return {0} -- it was on its way for so long that a later one has overtaken it
end
if epoch < mine and record[3] and owner ~= ARGV[1] then
  redis.call('RPUSH', KEYS[2], (record[4] or string.format('%.0f', now)) .. '|' .. record[3])
end
for i = 6, #ARGV do
  redis.call('LREM', KEYS[2], 0, ARGV[i])
end
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'e', ARGV[2], 'n', ARGV[3], 'l', ARGV[4], 'lt', string.format('%.0f', now))
local answer = {1}
for _, spent in ipairs(redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[5]) - 1)) do
  answer[#answer + 1] = math.max(0, now - tonumber(string.match(spent, '^(%d+)|') or now))
  answer[#answer + 1] = spent
end
return answer
