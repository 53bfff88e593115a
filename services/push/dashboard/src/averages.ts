// Moving averages of closes, one after the other: what each is after the closes so far, in whole units of the price.

export interface Average {
  /** The average after one more close; undefined while there are too few. */
  next(close: number): number | undefined;
  /** The average if the last close were this one: an open bar changes until it ends. */
  replace(close: number): number | undefined;
}

/** Mean of the newest closes. */
export class Simple implements Average {
  private readonly closes: number[] = [];
  private sum = 0;

  constructor(private readonly periods: number) {}

  next(close: number): number | undefined {
    this.closes.push(close);
    this.sum += close;
    if (this.closes.length > this.periods) this.sum -= this.closes.shift() ?? 0;
    return this.value();
  }

  replace(close: number): number | undefined {
    this.sum += close - (this.closes.pop() ?? 0);
    this.closes.push(close);
    return this.value();
  }

  private value(): number | undefined {
    return this.closes.length === this.periods ? this.sum / this.periods : undefined;
  }
}

/** Weight 2 / (periods + 1) to the newest; it begins with the mean of the first ones, as `tidemark indicators` does. */
export class Exponential implements Average {
  private count = 0;
  private mean = 0;
  private before = 0; // the mean before the last close, of the first ones their sum

  constructor(private readonly periods: number) {}

  next(close: number): number | undefined {
    this.before = this.mean;
    this.count += 1;
    return this.after(close);
  }

  replace(close: number): number | undefined {
    return this.after(close);
  }

  private after(close: number): number | undefined {
    if (this.count < this.periods) {
      this.mean = this.before + close;
      return undefined;
    }
    if (this.count === this.periods) this.mean = (this.before + close) / this.periods;
    else this.mean = this.before + (2 / (this.periods + 1)) * (close - this.before);
    return this.mean;
  }
}
