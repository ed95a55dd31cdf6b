-- Reads the ledger of record and what was handed in, and changes nothing.
-- KEYS record, spent. ARGV how many of the handed-in ledgers to return.
-- Returns the ledger, its age in milliseconds or -1, and what was handed in, each
-- after its age.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'l', 'lt')
local answer = {'', -1}
if record[1] then
  answer = {record[1], math.max(0, now - tonumber(record[2] or now))}
end
for _, spent in ipairs(redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1)) do
  answer[#answer + 1] = math.max(0, now - tonumber(string.match(spent, '^(%d+)|') or now))
  answer[#answer + 1] = spent
end
return answer
