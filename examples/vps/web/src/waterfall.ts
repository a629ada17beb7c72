// One turn's silence, step by step: the server's parts with what only the client can see around them.
import type { LatencyPart } from "./protocol";

/** What a turn's waterfall is made of; all times by our clock, in ms. */
export interface TurnTimes {
  /** The user stopped: the button was released, or the last voiced sample was spoken. */
  ended: number;
  /** The server learned of it. */
  serverFrom: number;
  parts: LatencyPart[];
  /** The server handed the first audio to its socket. */
  serverSent: number;
  /** The first audio arrived here. */
  arrived: number;
  /** The first audible sample left the speaker. */
  audible: number;
}

export interface Waterfall {
  parts: LatencyPart[];
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
  return { parts, sum: parts.reduce((sum, part) => sum + part.ms, 0), silence: times.audible - times.ended };
}

/** Names of steps as people read them. */
export const LABELS: Record<string, string> = {
  uplink: "Way to the server",
  end_of_turn: "Waiting for you to finish",
  stt: "Speech to text",
  decide: "Deciding",
  ttft: "Model's first word",
  clause: "First clause",
  ttfb: "First sound",
  send: "Sending",
  downlink: "Way back",
  playout: "Player",
};
