// The page: shows values, and reports what the person does. It decides nothing.
import type { Line } from "./conversation";
import { label, type Waterfall } from "./waterfall";

export type State = "idle" | "connecting" | "listening" | "thinking" | "speaking" | "reconnecting" | "refused";

const STATES: Record<State, string> = {
  idle: "Ready",
  connecting: "Connecting",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
  reconnecting: "Reconnecting",
  refused: "Not connected",
};

export interface Intents {
  start(): void;
  press(): void;
  release(): void;
  stop(): void;
  type(text: string): void;
  openMicrophone(on: boolean): void;
}

function element<T extends Element>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as unknown as T;
}

export class View {
  private readonly talk = element<HTMLOListElement>("talk");
  private readonly hold = element<HTMLButtonElement>("hold");
  private readonly microphone = element<HTMLInputElement>("open-mic");
  private readonly items = new Map<Line, HTMLLIElement>();
  private held = false;

  constructor(private readonly intents: Intents) {
    element<HTMLButtonElement>("start").onclick = () => intents.start();
    element<HTMLButtonElement>("stop").onclick = () => intents.stop();
    this.microphone.onchange = () => intents.openMicrophone(this.microphone.checked);
    element<HTMLFormElement>("type").onsubmit = (event) => {
      event.preventDefault();
      const input = element<HTMLInputElement>("text");
      const text = input.value.trim();
      input.value = "";
      if (text) intents.type(text);
    };
    this.holdable();
  }

  private holdable(): void {
    const press = () => {
      if (this.held || this.hold.disabled) return;
      this.held = true;
      this.hold.setAttribute("aria-pressed", "true");
      this.intents.press();
    };
    const release = () => {
      if (!this.held) return;
      this.held = false;
      this.hold.setAttribute("aria-pressed", "false");
      this.intents.release();
    };
    this.hold.onpointerdown = (event) => {
      this.hold.setPointerCapture(event.pointerId);
      press();
    };
    this.hold.onpointerup = this.hold.onpointercancel = this.hold.onlostpointercapture = release;
    this.hold.oncontextmenu = (event) => event.preventDefault();
    const isSpace = (event: KeyboardEvent) => event.code === "Space" && !isTextField(event.target);
    addEventListener("keydown", (event) => {
      if (!isSpace(event) || this.hold.offsetParent === null) return;
      // On another button or the switch, the space bar works that control.
      if (event.target instanceof HTMLElement && event.target !== this.hold && event.target.matches("button, input, summary")) return;
      event.preventDefault();
      if (!event.repeat) press();
    });
    addEventListener("keyup", (event) => {
      if (event.code === "Space" && this.held) {
        event.preventDefault();
        release();
      }
    });
    // This window gets no event for a key that is released in another one.
    addEventListener("blur", release);
  }

  started(withMicrophone: boolean): void {
    element<HTMLElement>("welcome").hidden = true;
    element<HTMLElement>("controls").hidden = false;
    this.hold.disabled = this.microphone.disabled = !withMicrophone;
    if (withMicrophone) this.hold.focus();
    else element<HTMLInputElement>("text").focus();
  }

  starting(busy: boolean): void {
    element<HTMLButtonElement>("start").disabled = busy;
  }

  state(state: State): void {
    element<HTMLElement>("state").dataset["state"] = state;
    element<HTMLElement>("state-text").textContent = STATES[state];
    element<HTMLButtonElement>("stop").disabled = state !== "speaking" && state !== "thinking";
  }

  openMicrophone(on: boolean): void {
    this.microphone.checked = on;
    element<HTMLElement>("hold-text").textContent = on ? "Just talk" : "Hold to talk";
    this.hold.disabled = on;
  }

  banner(simulated: string[]): void {
    const banner = element<HTMLElement>("banner");
    banner.hidden = simulated.length === 0;
    banner.textContent = `Simulated, because no key is set: ${simulated.join("; ")}.`;
  }

  notice(text: string): void {
    const notice = element<HTMLElement>("notice");
    if (notice.textContent !== text) notice.textContent = text;
    notice.hidden = text === "";
  }

  lines(lines: readonly Line[]): void {
    for (const [line, item] of this.items) {
      if (!lines.includes(line)) {
        item.remove();
        this.items.delete(line);
      }
    }
    let added = false;
    for (const line of lines) {
      let item = this.items.get(line);
      if (!item) {
        item = document.createElement("li");
        item.setAttribute("aria-label", line.who === "user" ? "You" : "LivOS");
        this.items.set(line, item);
        this.talk.append(item);
        added = true;
      }
      const kind = [line.who, line.interim && line.who === "user" ? "interim" : "", line.cut ? "cut" : ""].filter(Boolean).join(" ");
      if (item.className !== kind) item.className = kind;
      if (item.textContent !== line.text) {
        item.textContent = line.text;
        added = true;
      }
      item.hidden = line.text === "";
    }
    if (added) this.talk.lastElementChild?.scrollIntoView({ block: "nearest" });
  }

  waterfall({ parts, sum, opener }: Waterfall): void {
    element<HTMLElement>("waterfall-box").hidden = false;
    element<HTMLElement>("waterfall-sum").textContent = `${Math.round(sum)} ms`;
    let at = 0;
    const rows = parts.map(({ name, ms }) => {
      const row = document.createElement("tr");
      const step = document.createElement("th");
      step.scope = "row";
      step.textContent = label(name, opener);
      const time = document.createElement("td");
      time.className = "ms";
      time.textContent = `${ms.toFixed(1)} ms`;
      const cell = document.createElement("td");
      cell.className = "bar";
      cell.append(bar(at / sum, Math.max(ms, 0) / sum));
      at += ms;
      row.append(step, time, cell);
      return row;
    });
    element<HTMLTableElement>("waterfall").tBodies[0]?.replaceChildren(...rows);
  }
}

/** A bar as an image, because the page's policy allows no styles in attributes. */
function bar(from: number, width: number): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 100 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS(space, "rect");
  rect.setAttribute("x", String(Math.max(0, Math.min(99.5, from * 100))));
  rect.setAttribute("width", String(Math.max(0.5, Math.min(100, width * 100))));
  rect.setAttribute("height", "10");
  rect.setAttribute("rx", "1");
  svg.append(rect);
  return svg;
}

function isTextField(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement && target.type === "text";
}
