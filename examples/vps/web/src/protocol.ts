// The voice WebSocket protocol. Generated from the Rust types by `cargo xtask web types`; do not edit.

export const VERSION = 1;

export type Generation = number;

export type Mode = "push_to_talk" | "open_microphone";

export type TurnState = "idle" | "listening" | "thinking" | "speaking";

export type VadState = "quiet" | "starting" | "speaking" | "stopping";

export type PlayoutState = "started" | "playing" | "held" | "ended";

export type PlacedWord = { 
/**
 * The word as it is in the text.
 */
text: string, 
/**
 * Milliseconds from the first sample.
 */
start_ms: number, 
/**
 * Milliseconds from the first sample.
 */
end_ms: number, };

export type LatencyPart = { 
/**
 * `end_of_turn`, `stt`, `decide`, `ttft`, `clause`, `ttfb` or `send`.
 */
name: string, 
/**
 * How long it took.
 */
ms: number, };

export type ErrorCode = "expected_hello" | "already_open" | "unsupported_version" | "unsupported_format" | "malformed" | "too_large" | "odd_audio" | "too_fast" | "out_of_order" | "budget_exhausted" | "speech_unavailable" | "voice_unavailable" | "responder_failed" | "draining" | "internal";

export type ClientMessage = { "type": "hello", 
/**
 * The version of the protocol, [`VERSION`].
 */
version: number, 
/**
 * Samples a second of the audio the client sends: 16000 or 48000.
 */
input_rate: number, 
/**
 * Samples a second of the audio the client wants: 24000 or 48000.
 */
output_rate: number, 
/**
 * How the user takes the floor.
 */
mode: Mode, 
/**
 * Continues an earlier conversation; without it the server makes a new one.
 */
conversation?: string | null, 
/**
 * True when the client detects speech itself and sends `vad` messages.
 */
client_vad: boolean, } | { "type": "mode", 
/**
 * How the user takes the floor from now on.
 */
mode: Mode, 
/**
 * Whether the client detects speech itself, as in `hello`.
 */
client_vad: boolean, } | { "type": "press", 
/**
 * Milliseconds of the client's clock.
 */
at_ms: number, } | { "type": "release", 
/**
 * Milliseconds of the client's clock.
 */
at_ms: number, } | { "type": "vad", 
/**
 * What the detector says now.
 */
state: VadState, 
/**
 * Client clock: when the last voiced audio was spoken.
 */
last_voiced_ms: number, } | { "type": "text", 
/**
 * The message as it was typed.
 */
text: string, } | { "type": "stop" } | { "type": "playout", 
/**
 * The number of the reply.
 */
generation: Generation, 
/**
 * Milliseconds of its audio that have left the speaker.
 */
played_ms: number, 
/**
 * What the player does.
 */
state: PlayoutState, 
/**
 * Milliseconds of the client's clock.
 */
at_ms: number, } | { "type": "measured", 
/**
 * The number of the reply.
 */
generation: Generation, 
/**
 * From the user's last voiced sample (or the release of the button) to the first audible
 * sample.
 */
silence_ms: number, 
/**
 * From the first audio message's arrival to the first audible sample.
 */
playout_ms: number, } | { "type": "ping", 
/**
 * Milliseconds of the client's clock.
 */
at_ms: number, } | { "type": "bye" };

export type ServerMessage = { "type": "ready", 
/**
 * The version of the protocol, [`VERSION`].
 */
version: number, 
/**
 * The conversation, for a later `hello`.
 */
conversation: string, 
/**
 * Samples a second of the audio the server sends.
 */
output_rate: number, 
/**
 * The providers that are simulated, by name; empty when all are real.
 */
simulated: Array<string>, } | { "type": "state", 
/**
 * Who holds the floor now.
 */
state: TurnState, } | { "type": "transcript", 
/**
 * The whole turn so far.
 */
text: string, 
/**
 * True once it will not change any more.
 */
is_final: boolean, } | { "type": "speech_start", 
/**
 * The number of the reply.
 */
generation: Generation, } | { "type": "words", 
/**
 * The number of the reply.
 */
generation: Generation, 
/**
 * The words, in order of their start.
 */
words: Array<PlacedWord>, } | { "type": "speech_end", 
/**
 * The number of the reply.
 */
generation: Generation, } | { "type": "clear", 
/**
 * The number of the reply.
 */
generation: Generation, } | { "type": "truncate", 
/**
 * The number of the reply.
 */
generation: Generation, 
/**
 * Milliseconds from the first sample of the generation.
 */
at_ms: number, } | { "type": "pause", 
/**
 * The number of the reply.
 */
generation: Generation, } | { "type": "resume", 
/**
 * The number of the reply.
 */
generation: Generation, } | { "type": "reply", 
/**
 * The number of the reply.
 */
generation: Generation, 
/**
 * The next piece of the text.
 */
text: string, } | { "type": "reply_end", 
/**
 * The number of the reply.
 */
generation: Generation, 
/**
 * The words that reached the listener.
 */
heard: string, 
/**
 * False when it was cut off.
 */
complete: boolean, } | { "type": "waterfall", 
/**
 * The number of the reply.
 */
generation: Generation, 
/**
 * In order; they sum to the time from `from_ms` to `sent_ms`.
 */
parts: Array<LatencyPart>, 
/**
 * The sentence that the audio begins with because the answer was not there in time; `ttft`
 * is the wait for it then. Absent where the audio is the answer.
 */
opener?: string | null, 
/**
 * Server clock: when the server learned of the end of speech (it received the release, or
 * the last voiced audio).
 */
from_ms: number, 
/**
 * Server clock: when the first audio message was handed to the socket.
 */
sent_ms: number, } | { "type": "connection", 
/**
 * "speech to text" or "text to speech".
 */
provider: string, 
/**
 * In words for a person.
 */
state: string, 
/**
 * True when it works.
 */
connected: boolean, } | { "type": "error", 
/**
 * Which error it is, for programs.
 */
code: ErrorCode, 
/**
 * For people; no secrets.
 */
message: string, 
/**
 * True when the server closes.
 */
fatal: boolean, } | { "type": "pong", 
/**
 * The client's clock, as it was sent.
 */
at_ms: number, 
/**
 * The server's clock when it answered.
 */
server_ms: number, };
