// The socket: one at a time, reconnected with exponential backoff into the same conversation.
import type { ClientMessage, ServerMessage } from "./protocol";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** Typed messages that wait for a connection. */
const MAX_WAITING = 20;
/** Close codes after which another attempt would end the same way. */
const FINAL_CODES = new Set([4400, 4402, 4406]);

export interface ConnectionEvents {
  state(state: "connecting" | "open" | "reconnecting" | "refused", detail: string): void;
  message(message: ServerMessage): void;
  audio(samples: Int16Array): void;
}

export class Connection {
  private socket: WebSocket | undefined;
  private wait = FIRST_WAIT_MS;
  private ready = false;
  private waiting: ClientMessage[] = [];

  constructor(
    private readonly hello: () => Extract<ClientMessage, { type: "hello" }>,
    private readonly events: ConnectionEvents,
  ) {}

  open(): void {
    if (this.socket) return;
    this.events.state(this.wait === FIRST_WAIT_MS ? "connecting" : "reconnecting", "");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/voice`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify(this.hello()));
    socket.onmessage = ({ data }) => this.received(data as string | ArrayBuffer);
    socket.onclose = ({ code, reason }) => this.closed(code, reason);
  }

  get connected(): boolean {
    return this.ready;
  }

  /** Sends now. A typed message waits for the connection; anything else is dropped. */
  send(message: ClientMessage): void {
    if (this.ready) this.socket?.send(JSON.stringify(message));
    else if (message.type === "text" && this.waiting.length < MAX_WAITING) this.waiting.push(message);
  }

  sendAudio(samples: Int16Array): void {
    if (this.ready) this.socket?.send(samples as Int16Array<ArrayBuffer>);
  }

  private received(data: string | ArrayBuffer): void {
    if (typeof data !== "string") return this.events.audio(new Int16Array(data));
    const message = JSON.parse(data) as ServerMessage;
    if (message.type === "ready") {
      this.ready = true;
      this.wait = FIRST_WAIT_MS;
      this.events.state("open", "");
    }
    this.events.message(message);
    if (message.type === "ready") this.waiting.splice(0).forEach((waiting) => this.send(waiting));
  }

  private closed(code: number, reason: string): void {
    this.socket = undefined;
    this.ready = false;
    if (FINAL_CODES.has(code)) return this.events.state("refused", reason);
    this.events.state("reconnecting", reason);
    const wait = this.wait * (0.5 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    setTimeout(() => void this.retry(), wait);
  }

  /** A WebSocket does not say why it was refused, so a request that passes the same checks is made. */
  private async retry(): Promise<void> {
    const session = await fetch("/v1/session", { method: "POST", cache: "no-store" }).catch(() => undefined);
    if (session?.status === 401) return this.events.state("refused", "login");
    if (session?.status === 403) {
      const { message } = (await session.json().catch(() => ({}))) as { message?: string };
      return this.events.state("refused", message ?? "this address may not open a conversation");
    }
    this.open();
  }
}
