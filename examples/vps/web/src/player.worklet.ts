// The speaker's side of the player: plays what the page sends, and reports what was heard when.
import { Playback } from "./playback";

export type PlayerCommand =
  | { type: "start" | "end" | "clear" | "pause" | "resume"; generation: number }
  | { type: "truncate"; generation: number; at: number }
  | { type: "audio"; samples: Int16Array };

class PlayerProcessor extends AudioWorkletProcessor {
  private readonly playback = new Playback(sampleRate);

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<PlayerCommand>) => {
      switch (data.type) {
        case "audio": return this.playback.push(data.samples);
        case "truncate": return this.playback.truncate(data.generation, data.at);
        default: return this.playback[data.type](data.generation);
      }
    };
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const output = outputs[0]?.[0];
    if (!output) return true;
    for (const event of this.playback.render(output)) {
      this.port.postMessage({ ...event, time: currentTime + event.frame / sampleRate });
    }
    return true;
  }
}

registerProcessor("livos-player", PlayerProcessor);
