import {
  CandlestickSeries,
  ColorType,
  createChart,
  CrosshairMode,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  LineSeries,
  createSeriesMarkers,
  type ISeriesMarkersPluginApi,
  LineStyle,
  type MouseEventParams,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";

import { type Average, Exponential, Simple } from "../averages";
import { el, panel, Text } from "../dom";
import { compact, day, minuteOfDay, percent, price, timeOfDay } from "../format";
import type { View } from "../painter";
import type { Bar } from "../protocol";
import type { Store } from "../store";
import { colour } from "../theme";
import { WINDOWS } from "../windows";
import { indexAt } from "../bars_at";
import { Segments } from "./segments";

const BARS_MAX = 3000;
const IN_SIGHT = 130;

const seconds = (bar: Bar): UTCTimestamp => Math.round(bar.window_start_ns / 1e9) as UTCTimestamp;
const nsOf = (time: Time): number => (time as number) * 1e9;

interface Curve {
  name: string;
  make: () => Average;
  colour: string; // of the style sheet
}

const CURVES: readonly Curve[] = [
  { name: "SMA 20", make: () => new Simple(20), colour: "--info" },
  { name: "EMA 50", make: () => new Exponential(50), colour: "--dim" },
];

/** A moving average as it is drawn. */
class DrawnCurve {
  readonly values: (number | undefined)[] = []; // by bar
  private average: Average;

  constructor(
    readonly curve: Curve,
    readonly series: ISeriesApi<"Line">,
  ) {
    this.average = curve.make();
  }

  redraw(bars: readonly Bar[]): void {
    this.average = this.curve.make();
    this.values.length = 0;
    for (const bar of bars) this.values.push(this.average.next(bar.close_e4 / 10_000));
    this.series.setData(bars.map((bar, at) => point(bar, this.values[at])));
  }

  /** The newest bar has come, or is another than it was. */
  update(bar: Bar, isNew: boolean): void {
    const close = bar.close_e4 / 10_000;
    if (!isNew) this.values.pop();
    const value = isNew ? this.average.next(close) : this.average.replace(close);
    this.values.push(value);
    this.series.update(point(bar, value));
  }
}

const point = (bar: Bar, value: number | undefined) => (value === undefined ? { time: seconds(bar) } : { time: seconds(bar), value });

/** Candles, volume, moving averages, and the volume-weighted average price since the first candle shown. */
export class ChartView implements View {
  readonly parts = ["bars", "choice", "quotes"] as const;
  readonly root: HTMLElement;
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly vwap: ISeriesApi<"Line">;
  private readonly curves: DrawnCurve[];
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private moment: { ns: number; text: string } | undefined; // is shown once its bars have come
  private readonly title = new Text("chart-symbol");
  private readonly last = new Text("chart-last");
  private readonly legend = new Text("chart-legend", "div");
  private readonly note = el("div", "chart-note", "Waiting for the first print");
  private readonly windows: Segments<string>;
  private bars: Bar[] = []; // by window start
  private sums: { notional: number; volume: number }[] = []; // running, for the average price
  private hovered: number | undefined;
  private volumeColours = { up: "", down: "" };

  constructor(
    private readonly store: Store,
    chooseWindow: (ns: number) => void,
    instead: { root: HTMLElement; toggle: HTMLElement }, // is shown in its place when it is asked for
  ) {
    const choices = WINDOWS.map(({ label, ns }): [string, string] => [String(ns), label]);
    this.windows = new Segments("Candle width", choices, "", (ns) => chooseWindow(Number(ns)));
    const { root, body } = panel("", "chart", this.last.node, this.windows.root, instead.toggle);
    root.querySelector("h2")?.append(this.title.node);
    this.root = root;
    const canvas = el("div", "chart-canvas");
    body.append(canvas, this.legend.node, this.note, attribution(), instead.root);
    this.chart = createChart(canvas, OPTIONS);
    this.candles = this.chart.addSeries(CandlestickSeries, {
      borderVisible: false,
      priceLineStyle: LineStyle.Dotted,
      priceFormat: { type: "price", precision: 2, minMove: 0.01 },
    });
    this.vwap = this.chart.addSeries(LineSeries, LINE);
    this.curves = CURVES.map((curve) => new DrawnCurve(curve, this.chart.addSeries(LineSeries, LINE)));
    this.markers = createSeriesMarkers(this.candles, []);
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

  /** Takes the colours of the style sheet, which may have changed with the theme. */
  recolour(): void {
    const [up, down, line, dim] = [colour("--up"), colour("--down"), colour("--line"), colour("--dim")];
    const crosshair = { color: dim, labelBackgroundColor: colour("--label") };
    this.volumeColours = { up: colour("--up", 0.4), down: colour("--down", 0.4) };
    this.chart.applyOptions({
      layout: { background: { type: ColorType.Solid, color: colour("--panel") }, textColor: dim },
      grid: { vertLines: { color: colour("--grid") }, horzLines: { color: colour("--grid") } },
      crosshair: { vertLine: crosshair, horzLine: crosshair },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, priceLineColor: dim });
    this.vwap.applyOptions({ color: colour("--accent") });
    for (const { curve, series } of this.curves) series.applyOptions({ color: colour(curve.colour, 0.7) });
    this.redraw();
  }

  /** Shows what was traded around a moment, and marks it; at once, or when the bars of a symbol that was just chosen come. */
  goTo(ns: number, text: string): void {
    this.moment = { ns, text };
    this.showMoment();
  }

  private showMoment(): void {
    if (!this.moment || this.store.barsReset || !this.bars.length) return;
    const { ns, text } = this.moment;
    const at = indexAt(this.bars, ns);
    const bar = this.bars[at];
    if (!bar) return;
    this.markers.setMarkers([{ time: seconds(bar), position: "aboveBar", shape: "arrowDown", color: colour("--accent"), text }]);
    this.chart.timeScale().setVisibleLogicalRange({ from: at - IN_SIGHT / 2, to: at + IN_SIGHT / 2 });
    this.root.dataset["moment"] = timeOfDay(bar.window_start_ns);
    this.moment = undefined;
  }

  paint(): void {
    const { symbol, windowNs } = this.store.choice;
    this.title.set(symbol || "–");
    this.windows.set(String(windowNs));
    this.paintLast(symbol);
    if (this.store.barsReset) this.reload();
    else for (const bar of this.store.changedBars.values()) this.update(bar);
    this.store.changedBars.clear();
    this.showMoment();
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
    this.markers.setMarkers([]);
    delete this.root.dataset["moment"];
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
    this.volume.setData(this.bars.map((bar) => this.column(bar)));
    this.vwap.setData(this.bars.map((bar, index) => ({ time: seconds(bar), value: this.average(index) })));
    for (const curve of this.curves) curve.redraw(this.bars);
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
    const isNew = newest?.window_start_ns !== bar.window_start_ns;
    if (!isNew) {
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
    this.volume.update(this.column(bar));
    this.vwap.update({ time: seconds(bar), value: this.average(this.bars.length - 1) });
    for (const curve of this.curves) curve.update(bar, isNew);
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

  private column(bar: Bar) {
    const color = bar.close_e4 >= bar.open_e4 ? this.volumeColours.up : this.volumeColours.down;
    return { time: seconds(bar), value: bar.volume, color };
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
    for (const { curve, values } of this.curves) {
      const value = values[index];
      if (value !== undefined) parts.push(`${curve.name} ${value.toFixed(2)}`);
    }
    if (bar.revision) parts.push(`rev ${bar.revision}`);
    this.legend.set(parts.join("   "));
  }
}

function stateName(state: string): string {
  return { H: "HALTED", P: "PAUSED", Q: "QUOTATION ONLY" }[state] ?? "";
}

/** The library's licence asks for its name and a link. */
function attribution(): HTMLElement {
  const link = el("a", "attribution", "TradingView Lightweight Charts™");
  link.href = "https://www.tradingview.com/";
  link.target = "_blank";
  link.rel = "noopener";
  return link;
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

const LINE = {
  lineWidth: 1,
  priceLineVisible: false,
  lastValueVisible: false,
  crosshairMarkerVisible: false,
  autoscaleInfoProvider: () => null, // far from the price it must not squeeze the candles
} as const;

const OPTIONS = {
  autoSize: true,
  // The library's own logo brings an inline style sheet, which a strict content policy refuses; `attribution` stands for it.
  layout: { attributionLogo: false, fontFamily: "'Inter Variable', system-ui, sans-serif", fontSize: 11 },
  crosshair: { mode: CrosshairMode.Normal },
  timeScale: {
    timeVisible: true,
    secondsVisible: true,
    rightOffset: 4,
    minBarSpacing: 2,
    tickMarkFormatter: (time: Time) => ((time as number) % 60 ? timeOfDay(nsOf(time)) : minuteOfDay(nsOf(time))),
  },
  localization: { timeFormatter: (time: Time) => `${day(nsOf(time))} ${timeOfDay(nsOf(time))} ET` },
};
