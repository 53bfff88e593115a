/** The server's clock as seen from here, from ping exchanges: the one with the shortest round trip is believed. */
export class ServerClock {
  private samples: { rtt: number; offset: number }[] = [];
  private best: { rtt: number; offset: number } | undefined;

  /** A pong: `sent` and `received` are performance.now() in ms, `nowNs` the server's time in between. */
  pong(sent: number, received: number, nowNs: number): void {
    const rtt = received - sent;
    this.samples.push({ rtt, offset: nowNs / 1e6 - (sent + received) / 2 });
    if (this.samples.length > 12) this.samples.shift();
    this.best = this.samples.reduce((a, b) => (b.rtt < a.rtt ? b : a));
  }

  get known(): boolean {
    return this.best !== undefined;
  }

  get rttMs(): number {
    return this.best?.rtt ?? 0;
  }

  /**
   * Server time in ms since the epoch for a performance.now() reading; the local clock until a pong came. That one is
   * asked anew each time: performance.now() stands still while a machine sleeps, in some browsers.
   */
  ms(at: number = performance.now()): number {
    return at + (this.best?.offset ?? Date.now() - performance.now());
  }

  /** In ns. A double holds today's ns to the nearest 256, far below what is measured with it. */
  ns(at?: number): number {
    return Math.round(this.ms(at) * 1e6);
  }

  clear(): void {
    this.samples = [];
    this.best = undefined;
  }
}
