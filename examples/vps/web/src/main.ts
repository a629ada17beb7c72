// The client: microphone, socket, player and page, wired together.
import { Capture } from "./capture";
import { ServerClock } from "./clock";
import { Connection } from "./connection";
import { Conversation } from "./conversation";
import { listen, type OpenMicrophone } from "./detector";
import { Player, type PlayerEvent } from "./player";
import { VERSION, type ClientMessage, type ServerMessage } from "./protocol";
import type { SpeechOutput } from "./speech";
import { View, type State } from "./view";
import { waterfall, type Waterfall } from "./waterfall";

const OUTPUT_RATE = 24_000;
const PING_MS = 5_000;
/** How often the player's position goes to the server. */
const PLAYOUT_MS = 250;
/** Where this tab keeps its conversation, so that a reload continues it. */
const CONVERSATION_KEY = "livos-conversation";

type WaterfallMessage = Extract<ServerMessage, { type: "waterfall" }>;

/** The times of one answer, by our clock. */
interface Answer {
  ended: number | undefined;
  arrived?: number;
  audible?: number;
  message?: WaterfallMessage;
  shown?: boolean;
}

/** What the page has seen, for tests. Read only. */
interface Hook {
  state: State;
  context: () => AudioContext | undefined;
  node: () => AudioNode | undefined;
  peak: number;
  playing: boolean;
  audioReceived: number;
  audioSent: number;
  waterfall: Waterfall | undefined;
}

declare global {
  interface Window {
    livos: Hook;
  }
}

class Client {
  private readonly view = new View({
    start: () => void this.start(),
    press: () => this.press(),
    release: () => void this.release(),
    stop: () => this.connection.send({ type: "stop" }),
    type: (text) => this.type(text),
    openMicrophone: (on) => void this.switchMicrophone(on),
  });
  private readonly connection = new Connection(() => this.hello(), {
    state: (state, detail) => this.connectionState(state, detail),
    message: (message) => this.received(message),
    audio: (samples) => this.audio(samples),
  });
  private readonly conversation = new Conversation();
  private readonly clock = new ServerClock();
  private player: Player | undefined;
  private capture: Capture | undefined;
  private open: OpenMicrophone | undefined;
  private openMode = false;
  private clientVad = false;
  private pressed: { done: Promise<void> | undefined } | undefined;
  /** When the user's last turn ended, by our clock. */
  private ended: number | undefined;
  private speaking: number | undefined;
  private answers = new Map<number, Answer>();
  private reported = 0;
  readonly hook: Hook = {
    state: "idle",
    context: () => this.player?.context,
    node: () => this.player?.node,
    peak: 0,
    playing: false,
    audioReceived: 0,
    audioSent: 0,
    waterfall: undefined,
  };

  /** Starts on the user's gesture: from here on the browser allows sound (P-03). */
  private async start(): Promise<void> {
    this.view.starting(true);
    this.player ??= await Player.open(OUTPUT_RATE, (event) => this.played(event));
    await this.player.resume();
    try {
      this.capture ??= await Capture.open();
    } catch (error) {
      const refused = error instanceof DOMException && error.name === "NotAllowedError";
      this.view.notice(refused
        ? "The browser did not allow the microphone. You can type, or allow it in the browser's settings and reload."
        : "No microphone was found. You can type instead.");
    }
    this.view.started(this.capture !== undefined);
    this.connection.open();
    setInterval(() => this.ping(), PING_MS);
    // A browser may suspend sound at any time; a gesture resumes it.
    for (const gesture of ["pointerdown", "keydown"]) addEventListener(gesture, () => void this.player?.resume());
    this.player.context.onstatechange = () => this.soundState();
  }

  private hello(): Extract<ClientMessage, { type: "hello" }> {
    const conversation = sessionStorage.getItem(CONVERSATION_KEY) ?? undefined;
    return {
      type: "hello",
      version: VERSION,
      input_rate: this.capture?.rate ?? 16_000,
      output_rate: OUTPUT_RATE,
      mode: this.openMode ? "open_microphone" : "push_to_talk",
      client_vad: this.clientVad,
      ...(conversation ? { conversation } : {}),
    };
  }

  private connectionState(state: "connecting" | "open" | "reconnecting" | "refused", detail: string): void {
    if (state === "refused") {
      this.view.notice(detail === "login"
        ? "You are logged out. Open a new login link from the server."
        : `The server ended the conversation: ${detail || "it gave no reason"}. Reload to try again.`);
    }
    if (state === "reconnecting" && this.speaking !== undefined) this.player?.send({ type: "end", generation: this.speaking });
    this.setState(state === "open" ? "idle" : state);
  }

  private setState(state: State): void {
    this.hook.state = state;
    this.view.state(state);
  }

  private press(): void {
    if (!this.capture || this.pressed || this.openMode || !this.connection.connected) return;
    this.pressed = { done: undefined };
    this.connection.send({ type: "press", at_ms: performance.now() });
    this.capture.begin((frame) => this.sendAudio(frame));
  }

  private async release(): Promise<void> {
    const pressed = this.pressed;
    if (!this.capture || !pressed || pressed.done) return;
    const at_ms = performance.now();
    pressed.done = this.capture.finish();
    await pressed.done;
    this.pressed = undefined;
    this.ended = at_ms;
    this.connection.send({ type: "release", at_ms });
  }

  private type(text: string): void {
    this.conversation.typed(text);
    this.ended = performance.now();
    this.connection.send({ type: "text", text });
    this.view.lines(this.conversation.lines);
  }

  private async switchMicrophone(on: boolean): Promise<void> {
    if (!this.capture || on === this.openMode) return;
    this.openMode = on;
    this.view.openMicrophone(on);
    if (on) {
      try {
        this.open = await listen(this.capture.stream, (output) => this.heard(output));
        this.clientVad = true;
      } catch (error) {
        console.warn("the detector could not be loaded", error);
        this.view.notice("The speech detector could not be loaded. The server detects speech instead, so the open microphone sends everything it hears.");
        this.clientVad = false;
        this.capture.begin((frame) => this.sendAudio(frame));
      }
    } else {
      await this.open?.stop();
      this.open = undefined;
      if (!this.clientVad) await this.capture.finish();
    }
    this.connection.send({ type: "mode", mode: on ? "open_microphone" : "push_to_talk", client_vad: this.clientVad });
  }

  private heard(output: SpeechOutput<Int16Array>): void {
    if (!this.openMode) return;
    if (output.type === "audio") return this.sendAudio(output.frame);
    this.ended = output.lastVoiced;
    this.connection.send({ type: "vad", state: output.state, last_voiced_ms: output.lastVoiced });
  }

  private sendAudio(frame: Int16Array): void {
    this.hook.audioSent += frame.length;
    this.connection.sendAudio(frame);
  }

  private audio(samples: Int16Array): void {
    this.hook.audioReceived += samples.length;
    const answer = this.speaking === undefined ? undefined : this.answers.get(this.speaking);
    if (answer) answer.arrived ??= performance.now();
    this.player?.send({ type: "audio", samples });
  }

  private received(message: ServerMessage): void {
    switch (message.type) {
      case "ready":
        sessionStorage.setItem(CONVERSATION_KEY, message.conversation);
        this.view.banner(message.simulated);
        for (let n = 0; n < 4; n++) this.ping();
        break;
      case "pong":
        this.clock.pong(message.at_ms, message.server_ms, performance.now());
        return;
      case "state":
        if (message.state === "idle") this.conversation.userDone();
        this.setState(message.state);
        break;
      case "transcript":
        this.conversation.transcript(message.text, message.is_final);
        break;
      case "speech_start":
        this.speaking = message.generation;
        this.answers.set(message.generation, { ended: this.ended });
        this.player?.send({ type: "start", generation: message.generation });
        break;
      case "words":
        this.conversation.words(message.generation, message.words);
        break;
      case "reply":
        this.conversation.reply(message.generation, message.text);
        break;
      case "speech_end":
        this.player?.send({ type: "end", generation: message.generation });
        break;
      case "clear":
        this.player?.send({ type: "clear", generation: message.generation });
        this.hook.playing = false;
        break;
      case "truncate": {
        const at = Math.round((message.at_ms / 1000) * OUTPUT_RATE);
        this.player?.send({ type: "truncate", generation: message.generation, at });
        this.conversation.truncate(message.generation, message.at_ms);
        break;
      }
      case "pause":
      case "resume":
        this.player?.send({ type: message.type, generation: message.generation });
        break;
      case "reply_end":
        this.conversation.end(message.generation, message.heard, message.complete);
        break;
      case "waterfall": {
        const answer = this.answers.get(message.generation);
        if (answer) answer.message = message;
        this.showWaterfall(message.generation);
        break;
      }
      case "connection":
        this.view.notice(message.connected ? "" : `${capital(message.provider)}: ${message.state}`);
        break;
      case "error":
        this.view.notice(message.message);
        break;
    }
    this.view.lines(this.conversation.lines);
  }

  private played(event: PlayerEvent): void {
    const player = this.player;
    if (!player) return;
    const played = player.toMs(event.played);
    switch (event.type) {
      case "started":
        this.hook.playing = true;
        this.report(event.generation, played, "started");
        break;
      case "audible": {
        const answer = this.answers.get(event.generation);
        if (answer) answer.audible = event.at;
        this.showWaterfall(event.generation);
        break;
      }
      case "progress":
        this.hook.peak = Math.max(this.hook.peak, event.peak);
        if (performance.now() - this.reported >= PLAYOUT_MS) this.report(event.generation, played, "playing");
        break;
      case "ended":
        this.hook.playing = false;
        this.report(event.generation, played, "ended");
        this.answers.delete(event.generation);
        break;
      default:
        break;
    }
    this.conversation.position(event.generation, played);
    this.view.lines(this.conversation.lines);
  }

  private report(generation: number, played_ms: number, state: "started" | "playing" | "held" | "ended"): void {
    this.reported = performance.now();
    this.connection.send({ type: "playout", generation, played_ms, state, at_ms: this.reported });
  }

  private soundState(): void {
    const held = this.player?.suspended === true;
    this.view.notice(held ? "The browser blocks sound. Press any key or touch the page to hear the answer." : "");
    if (held && this.speaking !== undefined) this.report(this.speaking, 0, "held");
  }

  /** Shows the waterfall once both the server's part and ours are known. */
  private showWaterfall(generation: number): void {
    const answer = this.answers.get(generation);
    const message = answer?.message;
    if (!answer || !message || answer.shown || answer.audible === undefined || answer.arrived === undefined || answer.ended === undefined) return;
    const serverFrom = this.clock.toLocal(message.from_ms);
    const serverSent = this.clock.toLocal(message.sent_ms);
    if (serverFrom === undefined || serverSent === undefined) return;
    answer.shown = true;
    const { ended, arrived, audible } = answer;
    const opener = message.opener ?? undefined;
    const made = waterfall({ ended, serverFrom, parts: message.parts, opener, serverSent, arrived, audible });
    this.hook.waterfall = made;
    this.view.waterfall(made);
    this.connection.send({ type: "measured", generation, silence_ms: made.silence, playout_ms: audible - arrived });
  }

  private ping(): void {
    this.connection.send({ type: "ping", at_ms: performance.now() });
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

window.livos = new Client().hook;
