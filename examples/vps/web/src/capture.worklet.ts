// The microphone's side: sends 20 ms frames of 16-bit samples, and an unfinished frame when asked.

class CaptureProcessor extends AudioWorkletProcessor {
  private readonly length = Math.round(sampleRate * 0.02);
  private frame = new Int16Array(this.length);
  private filled = 0;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.post();
      this.port.postMessage("flushed");
    };
  }

  process(inputs: Float32Array[][]): boolean {
    const input = inputs[0]?.[0];
    if (!input) return true;
    for (const value of input) {
      const clipped = Math.max(-1, Math.min(1, value));
      this.frame[this.filled++] = Math.round(clipped * 32767);
      if (this.filled === this.length) this.post();
    }
    return true;
  }

  private post(): void {
    if (this.filled === 0) return;
    const frame = this.frame.slice(0, this.filled);
    this.filled = 0;
    this.port.postMessage(frame, [frame.buffer]);
  }
}

registerProcessor("livos-capture", CaptureProcessor);
