import { expect, test } from "vitest";
import { ServerClock } from "../src/clock";
import { label, waterfall } from "../src/waterfall";
import { Speech, toPcm } from "../src/speech";

test("the pong with the shortest way places the server's clock", () => {
  const clock = new ServerClock();
  expect(clock.toLocal(1)).toBeUndefined();
  clock.pong(0, 1080, 100);
  clock.pong(200, 1205, 210);
  clock.pong(300, 1390, 400);
  expect(clock.toLocal(1205)).toBe(205);
});

test("the parts of a turn sum to the silence", () => {
  const parts = [{ name: "stt", ms: 200 }, { name: "ttft", ms: 300 }];
  const made = waterfall({ ended: 1000, serverFrom: 1020, parts, serverSent: 1520, arrived: 1545, audible: 1605 });
  expect(made.parts.map(({ name, ms }) => `${name} ${ms}`)).toEqual(["uplink 20", "stt 200", "ttft 300", "downlink 25", "playout 60"]);
  expect(made.sum).toBe(made.silence);
});

test("a sentence before a late answer is not shown as the model's first word", () => {
  expect(label("ttft", undefined)).toBe("Model's first word");
  expect(label("ttft", "One moment.")).toContain("“One moment.”");
  expect(label("stt", "One moment.")).toBe("Speech to text");
});

/** Feeds scores, a frame every 32 ms, and answers what comes out in short. */
function speak(scores: number[]): string[] {
  const speech = new Speech<number>();
  const out = scores.flatMap((score, n) => speech.push(n, score, n * 32));
  return out.map((one) => (one.type === "audio" ? String(one.frame) : `${one.state}@${one.lastVoiced}`));
}

test("silence never leaves the browser, and speech leaves with what came before it", () => {
  const quiet = Array<number>(20).fill(0.1);
  expect(speak(quiet)).toEqual([]);
  const out = speak([...quiet, 0.9, 0.9, 0.9, ...Array<number>(30).fill(0.1)]);
  expect(out[0]).toBe("speaking@704");
  expect(out.slice(1, 12)).toEqual(["12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22"]);
  expect(out).toContain("stopping@704");
  expect(out.at(-1)).toBe("quiet@704");
  expect(out).not.toContain("40");
});

test("a click is no speech", () => {
  expect(speak([0.9, 0.9, 0.1, 0.1, 0.9, 0.1])).toEqual([]);
});

test("samples are clipped to sixteen bits", () => {
  expect([...toPcm(Float32Array.of(0, 1, -1, 2, -2, 0.5))]).toEqual([0, 32767, -32767, 32767, -32767, 16384]);
});
