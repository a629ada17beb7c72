// Turns the detector's scores into speech and silence, and decides which frames leave the browser.
// Pure, so that it can be tested.

/** A frame with at least this score begins speech; once begun, the lower one holds it. */
const START = 0.5;
const STOP = 0.35;
/** Voiced frames in a row that make speech sure. Frames are 32 ms. */
const SURE_FRAMES = 3;
/** Unvoiced frames after which speech may be ending, and has ended. */
const STOPPING_FRAMES = 3;
const QUIET_FRAMES = 10;
/** Frames kept from before speech was sure, about 350 ms. */
const PRE_ROLL_FRAMES = 11;

export type SpeechOutput<F> =
  | { type: "state"; state: "speaking" | "stopping" | "quiet"; lastVoiced: number }
  | { type: "audio"; frame: F };

/** Follows one microphone. Silence never leaves it. */
export class Speech<F> {
  private state: "quiet" | "speaking" | "stopping" = "quiet";
  private preRoll: F[] = [];
  private voiced = 0;
  private unvoiced = 0;
  private lastVoiced = 0;

  /** A frame that ended at `now`, with its score. */
  push(frame: F, score: number, now: number): SpeechOutput<F>[] {
    const isVoiced = score >= (this.state === "quiet" ? START : STOP);
    this.voiced = isVoiced ? this.voiced + 1 : 0;
    this.unvoiced = isVoiced ? 0 : this.unvoiced + 1;
    if (isVoiced) this.lastVoiced = now;
    if (this.state === "quiet") return this.whileQuiet(frame);
    const out: SpeechOutput<F>[] = [{ type: "audio", frame }];
    if (isVoiced && this.state === "stopping") out.push(this.turn("speaking"));
    else if (this.unvoiced >= QUIET_FRAMES) out.push(this.turn("quiet"));
    else if (this.unvoiced >= STOPPING_FRAMES && this.state === "speaking") out.push(this.turn("stopping"));
    return out;
  }

  private whileQuiet(frame: F): SpeechOutput<F>[] {
    this.preRoll.push(frame);
    if (this.preRoll.length > PRE_ROLL_FRAMES) this.preRoll.shift();
    if (this.voiced < SURE_FRAMES) return [];
    const kept = this.preRoll;
    this.preRoll = [];
    return [this.turn("speaking"), ...kept.map((frame) => ({ type: "audio" as const, frame }))];
  }

  private turn(state: "speaking" | "stopping" | "quiet"): SpeechOutput<F> {
    this.state = state;
    return { type: "state", state, lastVoiced: this.lastVoiced };
  }
}

/** Samples from -1 to 1 as 16-bit little-endian. */
export function toPcm(samples: Float32Array): Int16Array {
  return Int16Array.from(samples, (value) => Math.round(Math.max(-1, Math.min(1, value)) * 32767));
}
