-- What every script of the queue begins with. One queue lives in one hash slot; all its keys are handed in.
local jobs, payloads, ready, waiting, dedupe, forgets, dead, leased, full, repeats, numbers, bell, cursors =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local now = tonumber(ARGV[1])

local function pad(number)
  return string.format('%016.0f', number)
end

-- Sorts by kind, urgency and age.
local function place(job, id)
  return job.k .. '\0' .. string.format('%03d', 255 - job.p) .. pad(id)
end

local function load_job(id)
  local row = redis.call('HGET', jobs, id)
  return row and cjson.decode(row)
end

-- Takes a job out of the index of its state.
local function leave(id, job)
  if job.s == 'r' then
    redis.call('ZREM', ready, place(job, id))
  elseif job.s == 'w' then
    redis.call('ZREM', waiting, pad(id))
  elseif job.s == 'l' then
    redis.call('ZREM', waiting, pad(id))
    redis.call('HINCRBY', leased, job.k, -1)
  end
end

-- Writes a job, and puts it into the index of its state.
local function enter(id, job)
  if job.s == 'r' then
    redis.call('ZADD', ready, 0, place(job, id))
    -- Written nowhere: who does not hear it looks for jobs now and then.
    redis.call('PUBLISH', bell, job.k)
  elseif job.s == 'w' then
    redis.call('ZADD', waiting, job.u, pad(id))
  elseif job.s == 'l' then
    redis.call('ZADD', waiting, job.u, pad(id))
    redis.call('HINCRBY', leased, job.k, 1)
  elseif job.s == 'd' then
    redis.call('ZADD', dead, id, id)
  end
  redis.call('HSET', jobs, id, cjson.encode(job))
end

local function erase(id)
  redis.call('HDEL', jobs, id)
  redis.call('HDEL', payloads, id)
end

local function depth()
  return redis.call('ZCARD', ready) + redis.call('ZCARD', waiting)
end

local function forget(limit)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', forgets, '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('HDEL', dedupe, key)
    redis.call('ZREM', forgets, key)
  end
end

-- Answers {what, number}: 'enqueued' or 'duplicate' with an id, 'full' with the depth.
local function enqueue(kind, payload, key, until_, not_before, priority, most, bound)
  forget(4)
  local revived = nil
  if key ~= '' then
    key = kind .. '\0' .. key
    local known = redis.call('HGET', dedupe, key)
    if known then
      local id, remembered = string.match(known, '^(%d+):(%d+)$')
      if tonumber(remembered) > now then
        if not redis.call('ZSCORE', dead, id) then
          return {'duplicate', tonumber(id)}
        end
        revived = id
      end
    end
  end
  if bound >= 0 and depth() >= bound then
    return {'full', depth()}
  end
  -- Sent again by its provider, a job that was given up gets all its attempts again.
  if revived and redis.call('ZREM', dead, revived) == 1 then
    erase(revived)
  end
  local id = redis.call('HINCRBY', numbers, 'job', 1)
  if key ~= '' then
    redis.call('HSET', dedupe, key, id .. ':' .. string.format('%.0f', until_))
    redis.call('ZADD', forgets, until_, key)
  end
  local job = {k = kind, p = priority, a = 0, m = most, e = now, s = 'r'}
  if not_before > now then
    job.s, job.u = 'w', not_before
  end
  redis.call('HSET', payloads, id, payload)
  enter(id, job)
  return {'enqueued', id}
end

-- Ends delays and takes over leases whose time is over.
local function promote()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, 256)) do
    local id = tonumber(member)
    local job = load_job(id)
    if not job then
      redis.call('ZREM', waiting, member)
    else
      leave(id, job)
      if job.s == 'l' and job.a >= job.m then
        job.s, job.r, job.d = 'd', 'its lease expired on the last attempt: the worker died or hung', now
      else
        job.s = 'r'
      end
      enter(id, job)
    end
  end
end

-- The kinds that have a ready job.
local function ready_kinds()
  local kinds, from = {}, '-'
  while true do
    local found = redis.call('ZRANGEBYLEX', ready, from, '+', 'LIMIT', 0, 1)
    if #found == 0 then
      return kinds
    end
    local kind = string.match(found[1], '^([^%z]*)')
    kinds[#kinds + 1] = kind
    from = '[' .. kind .. '\1'
  end
end

-- When a kind may be leased again: nil for now, -1 for when a lease of it ends, else milliseconds.
local function held_back(kind, policies)
  local policy = policies[kind]
  if not policy then
    return nil
  end
  if policy.c and tonumber(redis.call('HGET', leased, kind) or 0) >= policy.c then
    return -1
  end
  if policy.n then
    local at = math.min(tonumber(redis.call('HGET', full, kind) or 0), now * 1000 + policy.t)
    local free = at - (policy.t - math.floor(policy.t / math.max(policy.n, 1)))
    if free > now * 1000 then
      return math.ceil(free / 1000)
    end
  end
  return nil
end

local function held(id, lease)
  local job = load_job(id)
  if job and job.s == 'l' and job.l == lease then
    return job
  end
  return nil
end
