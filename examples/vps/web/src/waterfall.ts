// The delay of one turn, step by step: the server's parts, and around them what
// only the client sees.
import type { LatencyPart } from "./protocol";

/** What a turn's waterfall is made of; all times by our clock, in ms. */
export interface TurnTimes {
  /** The user stopped: the button was released, or the last voiced sample was spoken. */
  ended: number;
  /** The server learned of it. */
  serverFrom: number;
  parts: LatencyPart[];
  /** The sentence that the audio begins with, if the answer was late. */
  opener?: string | undefined;
  /** The server handed the first audio to its socket. */
  serverSent: number;
  /** The first audio arrived here. */
  arrived: number;
  /** The first audible sample left the speaker. */
  audible: number;
}

export interface Waterfall {
  parts: LatencyPart[];
  opener: string | undefined;
  sum: number;
  /** From the end of the user's speech to the first audible sample, measured and not summed. */
  silence: number;
}

export function waterfall(times: TurnTimes): Waterfall {
  const parts = [
    { name: "uplink", ms: times.serverFrom - times.ended },
    ...times.parts,
    { name: "downlink", ms: times.arrived - times.serverSent },
    { name: "playout", ms: times.audible - times.arrived },
  ];
  return { parts, opener: times.opener, sum: parts.reduce((sum, part) => sum + part.ms, 0), silence: times.audible - times.ended };
}

/** The name of a step as people read it. */
export function label(name: string, opener: string | undefined): string {
  if (name === "ttft" && opener !== undefined) return `Waiting for the model, so “${opener}”`;
  return LABELS[name] ?? name;
}

const LABELS: Record<string, string> = {
  uplink: "To the server",
  end_of_turn: "Making sure you have finished",
  stt: "Speech to text",
  decide: "Deciding",
  ttft: "Model's first word",
  clause: "First clause",
  ttfb: "First sound",
  send: "Sending",
  downlink: "From the server",
  playout: "Player",
};
