// The microphone: 20 ms frames. The newest are kept, because people begin to speak as they press
// the button.
import workletUrl from "./capture.worklet.ts?worker&url";

/** Audio from just before the button went down; people begin to speak as they press. */
const PRE_ROLL_FRAMES = 10;
/** How long to wait for the last samples after the button went up. */
const FLUSH_MS = 40;

export class Capture {
  private preRoll: Int16Array[] = [];
  private sink: ((frame: Int16Array) => void) | undefined;
  private flushed: (() => void) | undefined;

  private constructor(
    readonly stream: MediaStream,
    readonly context: AudioContext,
    private readonly node: AudioWorkletNode,
  ) {
    node.port.onmessage = ({ data }: MessageEvent<Int16Array | "flushed">) => {
      if (data === "flushed") this.flushed?.();
      else if (this.sink) this.sink(data);
      else {
        this.preRoll.push(data);
        if (this.preRoll.length > PRE_ROLL_FRAMES) this.preRoll.shift();
      }
    };
  }

  /** Asks for the microphone. 16 kHz if the browser can, else 48 kHz; the server takes both. */
  static async open(): Promise<Capture> {
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const [context, source] = attach(stream);
    await context.audioWorklet.addModule(workletUrl);
    const node = new AudioWorkletNode(context, "livos-capture", { numberOfOutputs: 0 });
    source.connect(node);
    await context.resume();
    return new Capture(stream, context, node);
  }

  get rate(): number {
    return this.context.sampleRate;
  }

  /** Sends the kept audio and everything from now on to `sink`. */
  begin(sink: (frame: Int16Array) => void): void {
    for (const frame of this.preRoll) sink(frame);
    this.preRoll = [];
    this.sink = sink;
  }

  /** Sends the samples up to now, then nothing more. */
  async finish(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.flushed = resolve;
      setTimeout(resolve, FLUSH_MS);
      this.node.port.postMessage("flush");
    });
    this.sink = undefined;
  }
}

function attach(stream: MediaStream): [AudioContext, MediaStreamAudioSourceNode] {
  const slow = new AudioContext({ sampleRate: 16000 });
  try {
    return [slow, slow.createMediaStreamSource(stream)];
  } catch {
    // This browser does not resample a microphone to its context.
    void slow.close();
    const fast = new AudioContext({ sampleRate: 48000 });
    return [fast, fast.createMediaStreamSource(stream)];
  }
}
