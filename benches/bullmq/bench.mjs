// Enqueues jobs with BullMQ as `queue_table` does with LivOS, and prints what it measured as one line of JSON.
//
// node bench.mjs rate PORT CALLERS SECONDS PAYLOAD_BYTES   jobs a second, and how long each took, in microseconds
// node bench.mjs fill PORT JOBS PAYLOAD_BYTES              only enqueues

import { Queue } from 'bullmq';

const [what, port, ...numbers] = process.argv.slice(2);
const queue = new Queue('bench', { connection: { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null } });
await queue.waitUntilReady();

/** A string, because a job's data travels as JSON. */
const payload = (bytes) => 'x'.repeat(bytes);

async function rate(callers, seconds, bytes) {
  const data = payload(bytes);
  const times = [];
  const run = async (until, times) => {
    while (performance.now() < until) {
      const begun = performance.now();
      await queue.add('job', data);
      times.push((performance.now() - begun) * 1000);
    }
  };
  const all = (until, times) => Promise.all(Array.from({ length: callers }, () => run(until, times)));
  await all(performance.now() + 500, []);
  const begun = performance.now();
  await all(begun + seconds * 1000, times);
  const per_second = times.length / ((performance.now() - begun) / 1000);
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
  return { per_second, p50: at(0.5), p99: at(0.99) };
}

async function fill(jobs, bytes) {
  const data = payload(bytes);
  let left = jobs;
  const run = async () => {
    while (left-- > 0) await queue.add('job', data);
  };
  await Promise.all(Array.from({ length: 64 }, run));
  return { jobs };
}

const answer = await (what === 'rate' ? rate : fill)(...numbers.map(Number));
console.log(JSON.stringify(answer));
await queue.close();
