import {
  CandlestickSeries,
  ColorType,
  createChart,
  CrosshairMode,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  LineSeries,
  LineStyle,
  type MouseEventParams,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";

import { el, panel, Text } from "../dom";
import { compact, day, minuteOfDay, percent, price, timeOfDay } from "../format";
import type { View } from "../painter";
import type { Bar } from "../protocol";
import type { Store } from "../store";

const UP = "#3fb68b";
const DOWN = "#e5626a";
const WINDOWS = [
  { label: "1 s", ns: 1e9, key: "1" },
  { label: "1 min", ns: 60e9, key: "2" },
];
const BARS_MAX = 3000;
const IN_SIGHT = 130;

const seconds = (bar: Bar): UTCTimestamp => Math.round(bar.window_start_ns / 1e9) as UTCTimestamp;
const nsOf = (time: Time): number => (time as number) * 1e9;

/** Candles, volume, and the volume-weighted average price since the first candle shown. */
export class ChartView implements View {
  readonly parts = ["bars", "choice", "quotes"] as const;
  readonly root: HTMLElement;
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly vwap: ISeriesApi<"Line">;
  private readonly title = new Text("chart-symbol");
  private readonly last = new Text("chart-last");
  private readonly legend = new Text("chart-legend", "div");
  private readonly note = el("div", "chart-note", "Waiting for the first print");
  private readonly buttons: HTMLButtonElement[] = [];
  private bars: Bar[] = []; // by window start
  private sums: { notional: number; volume: number }[] = []; // running, for the average price
  private hovered: number | undefined;

  constructor(
    private readonly store: Store,
    private readonly chooseWindow: (ns: number) => void,
  ) {
    const toggle = el("div", "segments");
    for (const { label, ns } of WINDOWS) {
      const button = el("button", "", label);
      button.addEventListener("click", () => this.chooseWindow(ns));
      this.buttons.push(button);
      toggle.append(button);
    }
    const { root, body } = panel("", "chart", this.title.node, this.last.node, toggle);
    this.root = root;
    const canvas = el("div", "chart-canvas");
    body.append(canvas, this.legend.node, this.note);
    this.chart = createChart(canvas, OPTIONS);
    this.candles = this.chart.addSeries(CandlestickSeries, {
      upColor: UP,
      downColor: DOWN,
      borderVisible: false,
      wickUpColor: UP,
      wickDownColor: DOWN,
      priceLineColor: "#5b6776",
      priceLineStyle: LineStyle.Dotted,
      priceFormat: { type: "price", precision: 2, minMove: 0.01 },
    });
    this.vwap = this.chart.addSeries(LineSeries, {
      color: "#d8a657",
      lineWidth: 1,
      priceLineVisible: false,
      lastValueVisible: false,
      crosshairMarkerVisible: false,
      autoscaleInfoProvider: () => null, // far from the price it must not squeeze the candles
    });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      priceLineVisible: false,
      lastValueVisible: false,
    });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.24 } });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.chart.subscribeCrosshairMove((event) => this.hover(event));
  }

  paint(): void {
    const { symbol, windowNs } = this.store.choice;
    this.title.set(symbol || "–");
    WINDOWS.forEach(({ ns }, index) => this.buttons[index]?.classList.toggle("on", ns === windowNs));
    this.paintLast(symbol);
    if (this.store.barsReset) this.reload();
    else for (const bar of this.store.changedBars.values()) this.update(bar);
    this.store.changedBars.clear();
    this.note.hidden = this.bars.length > 0;
    this.paintLegend();
  }

  private paintLast(symbol: string): void {
    const quote = this.store.quotes.get(symbol);
    if (!quote?.last_e4) {
      this.last.set("");
      return;
    }
    const change = quote.open_e4 ? (100 * (quote.last_e4 - quote.open_e4)) / quote.open_e4 : 0;
    const state = quote.trading_state && quote.trading_state !== "T" ? `  ${stateName(quote.trading_state)}` : "";
    this.last.set(`${price(quote.last_e4)}  ${percent(change)} %${state}`, `chart-last ${change < 0 ? "down" : "up"}`);
  }

  private reload(): void {
    this.store.barsReset = false;
    this.bars = [...this.store.bars.values()].sort((a, b) => a.window_start_ns - b.window_start_ns);
    this.hovered = undefined;
    this.redraw();
    const end = this.bars.length + 4;
    this.chart.timeScale().setVisibleLogicalRange({ from: end - IN_SIGHT, to: end });
    const precision = (this.bars.at(-1)?.close_e4 ?? 10_000) < 10_000 ? 4 : 2;
    this.candles.applyOptions({ priceFormat: { type: "price", precision, minMove: 10 ** -precision } });
    this.candles.priceScale().applyOptions({ autoScale: true });
  }

  private redraw(): void {
    this.sums = [];
    for (const bar of this.bars) this.sums.push(this.sumAfter(bar, this.sums.at(-1)));
    this.candles.setData(this.bars.map(candle));
    this.volume.setData(this.bars.map(column));
    this.vwap.setData(this.bars.map((bar, index) => ({ time: seconds(bar), value: this.average(index) })));
  }

  /** One bar: the newest or a new one is an update, a restated older one draws all anew. */
  private update(bar: Bar): void {
    const newest = this.bars.at(-1);
    if (newest && bar.window_start_ns < newest.window_start_ns) {
      const at = this.bars.findIndex((one) => one.window_start_ns >= bar.window_start_ns);
      const same = this.bars[at]?.window_start_ns === bar.window_start_ns;
      this.bars.splice(at, same ? 1 : 0, bar);
      this.redraw();
      return;
    }
    if (newest?.window_start_ns === bar.window_start_ns) {
      this.bars.pop();
      this.sums.pop();
    }
    this.bars.push(bar);
    this.sums.push(this.sumAfter(bar, this.sums.at(-1)));
    if (this.bars.length > BARS_MAX) {
      this.bars.splice(0, BARS_MAX / 3);
      this.redraw();
      return;
    }
    this.candles.update(candle(bar));
    this.volume.update(column(bar));
    this.vwap.update({ time: seconds(bar), value: this.average(this.bars.length - 1) });
  }

  private sumAfter(bar: Bar, before: { notional: number; volume: number } | undefined): { notional: number; volume: number } {
    return {
      notional: (before?.notional ?? 0) + bar.notional_e4,
      volume: (before?.volume ?? 0) + bar.volume,
    };
  }

  private average(index: number): number {
    const sum = this.sums[index];
    return sum?.volume ? sum.notional / sum.volume / 10_000 : (this.bars[index]?.close_e4 ?? 0) / 10_000;
  }

  private hover(event: MouseEventParams): void {
    this.hovered = event.time === undefined ? undefined : this.bars.findIndex((bar) => seconds(bar) === event.time);
    this.paintLegend();
  }

  private paintLegend(): void {
    const index = this.hovered === undefined || this.hovered < 0 ? this.bars.length - 1 : this.hovered;
    const bar = this.bars[index];
    if (!bar) {
      this.legend.set("");
      return;
    }
    const parts = [
      `${day(bar.window_start_ns)} ${timeOfDay(bar.window_start_ns)} ET`,
      `O ${price(bar.open_e4)}`,
      `H ${price(bar.high_e4)}`,
      `L ${price(bar.low_e4)}`,
      `C ${price(bar.close_e4)}`,
      `Vol ${compact(bar.volume)}`,
      `Trades ${bar.trades}`,
      `VWAP ${this.average(index).toFixed(2)}`,
    ];
    if (bar.revision) parts.push(`rev ${bar.revision}`);
    this.legend.set(parts.join("   "));
  }
}

function stateName(state: string): string {
  return { H: "HALTED", P: "PAUSED", Q: "QUOTATION ONLY" }[state] ?? "";
}

function candle(bar: Bar) {
  return {
    time: seconds(bar),
    open: bar.open_e4 / 10_000,
    high: bar.high_e4 / 10_000,
    low: bar.low_e4 / 10_000,
    close: bar.close_e4 / 10_000,
  };
}

function column(bar: Bar) {
  const color = bar.close_e4 >= bar.open_e4 ? "rgba(63, 182, 139, 0.4)" : "rgba(229, 98, 106, 0.4)";
  return { time: seconds(bar), value: bar.volume, color };
}

const OPTIONS = {
  autoSize: true,
  layout: {
    background: { type: ColorType.Solid, color: "#0d1116" },
    textColor: "#7d8996",
    fontFamily: "'Inter Variable', system-ui, sans-serif",
    fontSize: 11,
  },
  grid: { vertLines: { color: "#151b22" }, horzLines: { color: "#151b22" } },
  crosshair: {
    mode: CrosshairMode.Normal,
    vertLine: { color: "#4d5864", labelBackgroundColor: "#27303a" },
    horzLine: { color: "#4d5864", labelBackgroundColor: "#27303a" },
  },
  rightPriceScale: { borderColor: "#1e252e" },
  timeScale: {
    borderColor: "#1e252e",
    timeVisible: true,
    secondsVisible: true,
    rightOffset: 4,
    minBarSpacing: 2,
    tickMarkFormatter: (time: Time) => ((time as number) % 60 ? timeOfDay(nsOf(time)) : minuteOfDay(nsOf(time))),
  },
  localization: { timeFormatter: (time: Time) => `${day(nsOf(time))} ${timeOfDay(nsOf(time))} ET` },
};
