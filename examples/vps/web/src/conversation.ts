// What the page shows of the conversation, as values: who said what, and how much of it was heard.
// No DOM, so that it can be tested.
import type { PlacedWord } from "./protocol";

export interface Line {
  who: "user" | "agent";
  text: string;
  /** May still change. */
  interim: boolean;
  /** Cut off by the user. */
  cut: boolean;
  generation?: number;
}

interface Spoken {
  line: Line;
  words: PlacedWord[];
  played: number;
  /** The whole text, if the server sends it as text. */
  written: string;
}

/** Lines that are kept on the page. */
const MAX_LINES = 500;

export class Conversation {
  readonly lines: Line[] = [];
  private user: Line | undefined;
  private spoken = new Map<number, Spoken>();

  transcript(text: string, final: boolean): void {
    if (!text.trim()) return;
    if (!this.user) this.user = this.add({ who: "user", text, interim: true, cut: false });
    this.user.text = text;
    this.user.interim = !final;
  }

  /** The server echoes a typed message as a transcript, which finds its line here. */
  typed(text: string): void {
    this.user = this.add({ who: "user", text, interim: false, cut: false });
  }

  /** The user's turn is over: what the user says next is a new line. */
  userDone(): void {
    if (this.user) this.user.interim = false;
    this.user = undefined;
  }

  words(generation: number, words: PlacedWord[]): void {
    this.answer(generation).words.push(...words);
    this.reveal(generation);
  }

  reply(generation: number, text: string): void {
    this.answer(generation).written += text;
    this.reveal(generation);
  }

  /** Drops the words from `at` on; they come again. */
  truncate(generation: number, at: number): void {
    const spoken = this.spoken.get(generation);
    if (spoken) spoken.words = spoken.words.filter((word) => word.start_ms < at);
  }

  /** Audio up to `played` ms has left the speaker. */
  position(generation: number, played: number): void {
    const spoken = this.spoken.get(generation);
    if (!spoken) return;
    spoken.played = played;
    this.reveal(generation);
  }

  /** The reply is over; the page keeps what the server keeps of it. */
  end(generation: number, heard: string, complete: boolean): void {
    const spoken = this.spoken.get(generation);
    if (!spoken && !heard) return;
    const { line } = spoken ?? this.answer(generation);
    line.text = heard || line.text;
    line.interim = false;
    line.cut = !complete;
    this.spoken.delete(generation);
    if (!line.text) this.lines.splice(this.lines.indexOf(line), 1);
  }

  private answer(generation: number): Spoken {
    let spoken = this.spoken.get(generation);
    if (!spoken) {
      this.userDone();
      const line = this.add({ who: "agent", text: "", interim: true, cut: false, generation });
      spoken = { line, words: [], played: 0, written: "" };
      this.spoken.set(generation, spoken);
    }
    return spoken;
  }

  private reveal(generation: number): void {
    const spoken = this.spoken.get(generation);
    if (!spoken) return;
    const heard = spoken.words.filter((word) => word.start_ms <= spoken.played);
    const text = heard.map((word) => word.text).join(" ");
    spoken.line.text = spoken.written.length > text.length ? spoken.written : text;
  }

  private add(line: Line): Line {
    this.lines.push(line);
    if (this.lines.length > MAX_LINES) this.lines.shift();
    return line;
  }
}
