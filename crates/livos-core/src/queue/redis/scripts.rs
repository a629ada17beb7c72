//! The scripts. Each is one method, so it happens as a whole or not at all; all begin with the
//! functions of `prelude.lua`.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident = $body:literal;)*) => {$(
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("prelude.lua"), $body)));
    )*};
}

scripts! {
    ENQUEUE = r"
        local answer = enqueue(ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]))
        answer[3] = depth()
        return answer";
    ADVANCE = r"
        local name, fence = ARGV[2], tonumber(ARGV[3])
        local known = redis.call('HGET', cursors, name)
        local standing = known and tonumber(string.match(known, '^(%d+):')) or 0
        if standing > fence then
            return {'stale', standing, {}}
        end
        local steps, answers, position = 0, {}, nil
        for at = 5, #ARGV, 8 do
            if ARGV[at + 1] ~= '' then
                local answer = enqueue(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[4]))
                answers[#answers + 1] = {answer[1], answer[2], depth()}
                if answer[1] == 'full' then
                    break
                end
            end
            position, steps = ARGV[at], steps + 1
        end
        if position then
            redis.call('HSET', cursors, name, ARGV[3] .. ':' .. position)
        end
        return {'moved', steps, answers}";
    CURSOR = r"
        return redis.call('HGET', cursors, ARGV[2])";
    LEASE = r"
        promote()
        local policies, first, urgency = cjson.decode(ARGV[3]), nil, nil
        local kinds = {}
        for at = 4, #ARGV do
            kinds[#kinds + 1] = ARGV[at]
        end
        if #kinds == 0 then
            kinds = ready_kinds()
        end
        for _, kind in ipairs(kinds) do
            if held_back(kind, policies) == nil then
                local found = redis.call('ZRANGEBYLEX', ready, '[' .. kind .. '\0', '(' .. kind .. '\1', 'LIMIT', 0, 1)[1]
                if found and (not urgency or string.sub(found, #kind + 2) < urgency) then
                    first, urgency = found, string.sub(found, #kind + 2)
                end
            end
        end
        if not first then
            return false
        end
        local id = tonumber(string.sub(urgency, 4))
        local job = load_job(id)
        leave(id, job)
        job.l = redis.call('HINCRBY', numbers, 'lease', 1)
        job.s, job.a, job.i, job.u = 'l', job.a + 1, now, now + tonumber(ARGV[2])
        enter(id, job)
        local policy = policies[job.k]
        if policy and policy.n then
            local at = math.min(tonumber(redis.call('HGET', full, job.k) or 0), now * 1000 + policy.t)
            at = math.max(at, now * 1000) + math.floor(policy.t / math.max(policy.n, 1))
            redis.call('HSET', full, job.k, string.format('%.0f', at))
        end
        return {id, job.k, redis.call('HGET', payloads, id), job.a, job.m, string.format('%.0f', job.e), job.l, job.w or 0}";
    EXTEND = r"
        local id, lease = tonumber(ARGV[2]), tonumber(ARGV[3])
        local job = held(id, lease)
        if not job then
            return 0
        end
        leave(id, job)
        job.i, job.u = now, now + tonumber(ARGV[4])
        enter(id, job)
        return 1";
    ACK = r"
        local id = tonumber(ARGV[2])
        local job = held(id, tonumber(ARGV[3]))
        if not job then
            return 0
        end
        leave(id, job)
        erase(id)
        return 1";
    NACK = r"
        local id, how, after, reason = tonumber(ARGV[2]), ARGV[4], tonumber(ARGV[5]), ARGV[6]
        local job = held(id, tonumber(ARGV[3]))
        if not job then
            return 0
        end
        leave(id, job)
        if how == 'release' then
            job.s, job.a = 'r', math.max(job.a - 1, 0)
        elseif how == 'wait' then
            job.s, job.u, job.a, job.w = 'w', now + after, math.max(job.a - 1, 0), (job.w or 0) + 1
        elseif how == 'retry' and job.a < job.m and after == 0 then
            job.s = 'r'
        elseif how == 'retry' and job.a < job.m then
            job.s, job.u = 'w', now + after
        else
            job.s, job.r, job.d = 'd', reason, now
        end
        enter(id, job)
        return 1";
    DEAD = r"
        local letters = {}
        for at, id in ipairs(redis.call('ZRANGEBYSCORE', dead, ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])) do
            letters[at] = {id, redis.call('HGET', jobs, id), redis.call('HGET', payloads, id)}
        end
        return letters";
    REPLAY = r"
        local id = tonumber(ARGV[2])
        if redis.call('ZREM', dead, id) == 0 then
            return 0
        end
        local job, payload = load_job(id), redis.call('HGET', payloads, id)
        erase(id)
        local new = redis.call('HINCRBY', numbers, 'job', 1)
        job.s, job.a, job.w, job.r, job.d = 'r', 0, nil, nil, nil
        redis.call('HSET', payloads, new, payload)
        enter(new, job)
        return 1";
    DISCARD = r"
        local id = tonumber(ARGV[2])
        local removed = redis.call('ZREM', dead, id)
        if removed == 1 then
            erase(id)
        end
        return removed";
    DEPTH = r"
        local busy = 0
        for _, count in ipairs(redis.call('HVALS', leased)) do
            busy = busy + tonumber(count)
        end
        return {redis.call('ZCARD', ready), redis.call('ZCARD', waiting) - busy, busy, redis.call('ZCARD', dead)}";
    // One repeated job's due times, unless another process was faster.
    FIRE = r"
        if redis.call('HGET', repeats, ARGV[2]) ~= ARGV[3] then
            return 0
        end
        local count, bound, kind, payload, until_ = 0, tonumber(ARGV[5]), ARGV[6], ARGV[7], tonumber(ARGV[8])
        for at = 9, #ARGV do
            local answer = enqueue(kind, payload, ARGV[at], until_, 0, 100, 10, bound)
            if answer[1] == 'full' then
                return count
            end
            if answer[1] == 'enqueued' then
                count = count + 1
            end
        end
        redis.call('HSET', repeats, ARGV[2], ARGV[4])
        return count";
    SWEEP = r"
        forget(256)
        for _, member in ipairs(redis.call('ZRANGEBYSCORE', waiting, '(' .. now, '+inf')) do
            local id = tonumber(member)
            local job = load_job(id)
            if job and job.s == 'l' and job.i > now then
                leave(id, job)
                job.i, job.u = now, now + (job.u - job.i)
                enter(id, job)
            end
        end
        return redis.call('HGETALL', repeats)";
    DUE = r"
        local policies, due = cjson.decode(ARGV[2]), {}
        local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
        if first then
            due[1] = first
        end
        for _, kind in ipairs(ready_kinds()) do
            local free = held_back(kind, policies)
            if free and free >= 0 then
                due[#due + 1] = string.format('%.0f', free)
            end
        end
        return due";
}
