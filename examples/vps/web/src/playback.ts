// The player's bookkeeping, without the browser: what is queued, what has played, and of which
// generation. It runs inside the audio worklet.

/** The most audio that is kept, in seconds. The server sends at most 30 s ahead. */
const MAX_QUEUED_S = 60;
/** Audio that must be queued before the first sample plays: two messages, so that one late message
 * is not heard as a gap. */
const START_S = 0.05;
/** The same after the player ran dry: the network is worse than expected. */
const RESTART_S = 0.1;
/** A sample louder than this is audible: about -46 dB. */
const AUDIBLE = 0.005;
/** How often a position is reported, in seconds. */
const REPORT_S = 0.05;

export type PlaybackEvent =
  | { type: "started" | "ended"; generation: number; played: number; frame: number }
  | { type: "progress"; generation: number; played: number; frame: number; peak: number }
  | { type: "audible"; generation: number; played: number; frame: number }
  | { type: "underrun" | "overflow"; generation: number; played: number; frame: number };

interface Segment {
  generation: number;
  samples: Int16Array;
  at: number;
}

interface Answer {
  generation: number;
  /** Samples that arrived, and samples that have played. */
  received: number;
  played: number;
  started: boolean;
  audible: boolean;
  /** Whether all of it has arrived. */
  complete: boolean;
}

export class Playback {
  private queue: Segment[] = [];
  private queued = 0;
  private answer: Answer | undefined;
  /** Between a clear and the next start, audio belongs to nothing. */
  private accepting = false;
  private flowing = false;
  private ranDry = false;
  private paused = false;
  private sinceReport = 0;
  private peak = 0;
  private events: PlaybackEvent[] = [];

  constructor(private readonly rate: number) {}

  /** Audio that follows belongs to `generation`. */
  start(generation: number): void {
    this.drop();
    this.answer = { generation, received: 0, played: 0, started: false, audible: false, complete: false };
    this.accepting = true;
    this.paused = false;
  }

  push(samples: Int16Array): void {
    if (!this.accepting || !this.answer) return;
    if (this.queued + samples.length > MAX_QUEUED_S * this.rate) {
      this.emit("overflow", 0);
      return;
    }
    this.queue.push({ generation: this.answer.generation, samples, at: 0 });
    this.queued += samples.length;
    this.answer.received += samples.length;
  }

  /** No more audio of `generation` comes. */
  end(generation: number): void {
    if (this.answer?.generation === generation) this.answer.complete = true;
  }

  /** Drops audio of `generation` and older. */
  clear(generation: number): void {
    if (!this.answer || this.answer.generation > generation) return;
    this.drop();
    this.answer = undefined;
    this.accepting = false;
    this.paused = false;
  }

  /** Drops the audio from `at` samples on; it comes again. */
  truncate(generation: number, at: number): void {
    if (this.answer?.generation !== generation || at >= this.answer.received) return;
    let excess = Math.min(this.answer.received - at, this.queued);
    while (excess > 0) {
      const last = this.queue[this.queue.length - 1];
      if (!last) break;
      const left = last.samples.length - last.at;
      const cut = Math.min(left, excess);
      if (cut === left) this.queue.pop();
      else last.samples = last.samples.subarray(0, last.samples.length - cut);
      excess -= cut;
      this.queued -= cut;
    }
    this.answer.received = at;
    this.answer.played = Math.min(this.answer.played, at);
  }

  pause(generation: number): void {
    if (this.answer?.generation === generation) this.paused = true;
  }

  resume(generation: number): void {
    if (this.answer?.generation === generation) this.paused = false;
  }

  /** Fills the next block of the speaker, and returns what happened in it. */
  render(output: Float32Array): PlaybackEvent[] {
    this.events = [];
    output.fill(0);
    const answer = this.answer;
    if (answer && !this.paused) {
      this.flow(answer);
      if (this.flowing) this.fill(answer, output);
    }
    return this.events;
  }

  private flow(answer: Answer): void {
    const enough = (this.ranDry ? RESTART_S : START_S) * this.rate;
    if (!this.flowing && (this.queued >= enough || (answer.complete && this.queued > 0))) this.flowing = true;
  }

  private fill(answer: Answer, output: Float32Array): void {
    let frame = 0;
    while (frame < output.length) {
      const segment = this.queue[0];
      if (!segment) break;
      if (!answer.started) {
        answer.started = true;
        this.emit("started", frame);
      }
      const count = Math.min(output.length - frame, segment.samples.length - segment.at);
      for (let n = 0; n < count; n++) {
        const value = (segment.samples[segment.at + n] ?? 0) / 32768;
        output[frame + n] = value;
        const loud = Math.abs(value);
        if (loud > this.peak) this.peak = loud;
        if (!answer.audible && loud > AUDIBLE) {
          answer.audible = true;
          this.emit("audible", frame + n);
        }
      }
      segment.at += count;
      frame += count;
      answer.played += count;
      this.queued -= count;
      if (segment.at === segment.samples.length) this.queue.shift();
    }
    this.sinceReport += frame;
    if (this.sinceReport >= REPORT_S * this.rate) {
      this.sinceReport = 0;
      this.emit("progress", frame);
      this.peak = 0;
    }
    if (this.queue.length === 0) this.dry(answer, frame);
  }

  private dry(answer: Answer, frame: number): void {
    this.flowing = false;
    if (answer.complete) {
      this.emit("ended", frame);
      this.answer = undefined;
      this.accepting = false;
      this.ranDry = false;
    } else {
      this.ranDry = true;
      this.emit("underrun", frame);
    }
  }

  private drop(): void {
    this.queue = [];
    this.queued = 0;
    this.flowing = false;
    this.sinceReport = 0;
    this.peak = 0;
  }

  private emit(type: PlaybackEvent["type"], frame: number): void {
    if (!this.answer) return;
    const { generation, played } = this.answer;
    this.events.push({ type, generation, played, frame, peak: this.peak } as PlaybackEvent);
  }
}
