import { expect, test } from "vitest";
import { Playback, type PlaybackEvent } from "../src/playback";

const RATE = 1000;

function audio(length: number, value = 8000): Int16Array {
  return new Int16Array(length).fill(value);
}

/** Renders `blocks` blocks of ten samples; answers the samples and the events. */
function render(playback: Playback, blocks: number): { samples: number[]; events: PlaybackEvent[] } {
  const samples: number[] = [];
  const events: PlaybackEvent[] = [];
  for (let n = 0; n < blocks; n++) {
    const block = new Float32Array(10);
    events.push(...playback.render(block));
    samples.push(...block);
  }
  return { samples, events };
}

const types = (events: PlaybackEvent[]) => events.map((event) => event.type).filter((type) => type !== "progress");

test("an answer starts once enough is queued, and ends when all of it has played", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(40));
  expect(types(render(playback, 5).events)).toEqual([]);
  playback.push(audio(20));
  playback.end(1);
  const { samples, events } = render(playback, 8);
  expect(types(events)).toEqual(["started", "audible", "ended"]);
  expect(samples.filter((value) => value !== 0)).toHaveLength(60);
  expect(events.at(-1)).toMatchObject({ generation: 1, played: 60 });
});

test("silence at the beginning is played but is not audible", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(25, 0));
  playback.push(audio(50));
  const { events } = render(playback, 5);
  expect(events.find((event) => event.type === "audible")).toMatchObject({ frame: 5 });
});

test("after a clear nothing plays until the next answer starts", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(200));
  render(playback, 3);
  playback.clear(1);
  playback.push(audio(200));
  expect(render(playback, 3).samples.every((value) => value === 0)).toBe(true);
  playback.start(2);
  playback.push(audio(100));
  expect(types(render(playback, 1).events)).toEqual(["started", "audible"]);
});

test("a clear of an older answer leaves the newer one alone", () => {
  const playback = new Playback(RATE);
  playback.start(2);
  playback.push(audio(100));
  playback.clear(1);
  expect(types(render(playback, 1).events)).toEqual(["started", "audible"]);
});

test("a truncation drops what follows and what comes again is played once", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(60, 1000));
  playback.push(audio(60, 2000));
  playback.truncate(1, 80);
  playback.push(audio(40, 3000));
  playback.end(1);
  const { samples } = render(playback, 20);
  const heard = samples.filter((value) => value !== 0).map((value) => Math.round(value * 32768));
  expect(heard).toEqual([...Array(60).fill(1000), ...Array(20).fill(2000), ...Array(40).fill(3000)]);
});

test("a truncation behind what was played goes on from there", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(100));
  render(playback, 8);
  playback.truncate(1, 50);
  playback.push(audio(60));
  playback.end(1);
  expect(render(playback, 10).events.at(-1)).toMatchObject({ type: "ended", played: 110 });
});

test("a pause holds the sound and loses none", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(100));
  playback.end(1);
  render(playback, 2);
  playback.pause(1);
  expect(render(playback, 5).samples.every((value) => value === 0)).toBe(true);
  playback.resume(1);
  expect(render(playback, 9).samples.filter((value) => value !== 0)).toHaveLength(80);
});

test("a late network is heard once, and then waited for a little longer", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(50));
  expect(types(render(playback, 6).events)).toEqual(["started", "audible", "underrun"]);
  playback.push(audio(60));
  expect(render(playback, 1).samples.every((value) => value === 0)).toBe(true);
  playback.push(audio(60));
  expect(render(playback, 1).samples.every((value) => value !== 0)).toBe(true);
});

test("what does not fit is refused and told", () => {
  const playback = new Playback(RATE);
  playback.start(1);
  playback.push(audio(60 * RATE));
  playback.push(audio(1));
  expect(render(playback, 1).events.map((event) => event.type)).not.toContain("ended");
  const again = new Playback(RATE);
  again.start(1);
  for (let n = 0; n < 70; n++) again.push(audio(RATE));
  again.end(1);
  expect(render(again, 6100).events.at(-1)).toMatchObject({ type: "ended", played: 60 * RATE });
});
