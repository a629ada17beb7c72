// The offset between the server's clock and ours, from pings. The answer with the shortest round
// trip is the most accurate one.

/** An offset older than this is measured again, because clocks drift. */
const FRESH_MS = 60_000;

export class ServerClock {
  private best: { roundTrip: number; offset: number; at: number } | undefined;

  /** Takes a pong: `sent` and `now` by our clock, `server` by the server's. */
  pong(sent: number, server: number, now: number): void {
    const roundTrip = now - sent;
    if (roundTrip < 0) return;
    if (!this.best || roundTrip <= this.best.roundTrip || now - this.best.at > FRESH_MS) {
      this.best = { roundTrip, offset: server - (sent + now) / 2, at: now };
    }
  }

  /** A time of the server by our clock; undefined until a pong has come. */
  toLocal(server: number): number | undefined {
    return this.best && server - this.best.offset;
  }
}
