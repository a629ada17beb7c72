// The open microphone's detector: Silero by @ricky0123/vad-web. It is loaded from our own
// server when the switch is turned on.
import { Speech, toPcm, type SpeechOutput } from "./speech";

/** A running detector. */
export interface OpenMicrophone {
  stop(): Promise<void>;
}

/** Listens to `stream` and passes on speech only. Throws if the detector can't be loaded. */
export async function listen(
  stream: MediaStream,
  output: (output: SpeechOutput<Int16Array>) => void,
): Promise<OpenMicrophone> {
  const { MicVAD } = await import("@ricky0123/vad-web");
  const speech = new Speech<Int16Array>();
  const vad = await MicVAD.new({
    model: "v5",
    baseAssetPath: "/vad/",
    onnxWASMBasePath: "/vad/",
    // One thread needs no shared memory, and so no special headers.
    ortConfig: (ort) => { ort.env.wasm.numThreads = 1; ort.env.logLevel = "error"; },
    getStream: () => Promise.resolve(stream),
    // The stream is shared with push to talk, so the detector must not stop it.
    pauseStream: () => Promise.resolve(),
    resumeStream: () => Promise.resolve(stream),
    onFrameProcessed: (score, frame) => speech.push(toPcm(frame), score.isSpeech, performance.now()).forEach(output),
  });
  await vad.start();
  return { stop: () => vad.destroy() };
}
