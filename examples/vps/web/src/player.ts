// The player: a queue in an audio worklet. Its events carry the page's time at
// which they were heard.
import type { PlaybackEvent } from "./playback";
import type { PlayerCommand } from "./player.worklet";
import workletUrl from "./player.worklet.ts?worker&url";

/** What happened, with the page's time in ms at which it left the speaker. */
export type PlayerEvent = PlaybackEvent & { at: number };

export class Player {
  private constructor(
    readonly context: AudioContext,
    readonly node: AudioWorkletNode,
  ) {}

  /** Call from a user gesture, or the browser keeps the context suspended (P-03). */
  static async open(rate: number, listener: (event: PlayerEvent) => void): Promise<Player> {
    const context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    await context.audioWorklet.addModule(workletUrl);
    const node = new AudioWorkletNode(context, "livos-player", { numberOfInputs: 0, outputChannelCount: [1] });
    node.connect(context.destination);
    const player = new Player(context, node);
    node.port.onmessage = ({ data }: MessageEvent<PlaybackEvent & { time: number }>) => {
      listener({ ...data, at: player.heardAt(data.time) });
    };
    return player;
  }

  /** True while the browser blocks sound. Arriving audio is queued, within the player's bound. */
  get suspended(): boolean {
    return this.context.state !== "running";
  }

  resume(): Promise<void> {
    return this.context.resume();
  }

  send(command: PlayerCommand): void {
    this.node.port.postMessage(command, command.type === "audio" ? [command.samples.buffer] : []);
  }

  /** Samples of the context as milliseconds. */
  toMs(samples: number): number {
    return (samples * 1000) / this.context.sampleRate;
  }

  /** When audio of this context time leaves the speaker, by the page's clock. */
  private heardAt(time: number): number {
    const latency = (this.context.outputLatency || this.context.baseLatency || 0) * 1000;
    return performance.now() + (time - this.context.currentTime) * 1000 + latency;
  }
}
