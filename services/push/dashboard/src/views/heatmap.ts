import { DepthHistory, type Scale } from "../depth_history";
import { button, el, Text } from "../dom";
import { price, timeOfDay, whole } from "../format";
import type { View } from "../painter";
import type { Store } from "../store";
import { colour } from "../theme";

const LABEL_HEIGHT = 26; // CSS pixels
const SCALE_WIDTH = 64; // CSS pixels of the prices on the right
const FAINTEST = 0.06;
const COLUMNS_MIN = 120; // half a minute: fewer leave room on their left

/** Depth over time, in place of the chart: the more shares stand at a price, the stronger its colour. */
export class HeatmapView implements View {
  readonly parts = ["book", "choice"] as const;
  readonly root = el("div", "heatmap");
  readonly toggle: HTMLButtonElement;
  private readonly canvas = el("canvas");
  private readonly legend = new Text("chart-legend", "div");
  private readonly history = new DepthHistory();
  private symbol = "";
  private seen: unknown;
  private colours = { bid: "", ask: "", text: "" };

  constructor(private readonly store: Store) {
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Depth of the book over the last two minutes");
    this.root.append(this.canvas, this.legend.node);
    this.root.hidden = true;
    this.toggle = button("plain heatmap-toggle", "Depth", () => this.show(this.root.hidden === true));
    this.toggle.title = "Depth of the book over time, instead of the candles";
    this.toggle.setAttribute("aria-pressed", "false");
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  /** Takes the colours of the style sheet, which may have changed with the theme. */
  recolour(): void {
    this.colours = { bid: colour("--up"), ask: colour("--down"), text: colour("--dim") };
    this.draw();
  }

  paint(): void {
    const { book, choice } = this.store;
    if (choice.symbol !== this.symbol) {
      this.symbol = choice.symbol;
      this.history.clear();
    }
    if (book && book !== this.seen && book.symbol === this.symbol) this.history.add(book);
    this.seen = book;
    this.draw();
  }

  private show(shown: boolean): void {
    this.root.hidden = !shown;
    this.toggle.setAttribute("aria-pressed", String(shown));
    this.toggle.classList.toggle("on", shown);
    this.draw();
  }

  private draw(): void {
    const context = this.canvas.getContext("2d");
    if (this.root.hidden || !context) return;
    const { clientWidth: width, clientHeight: height } = this.root;
    const pixels = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * pixels);
    this.canvas.height = Math.round(height * pixels);
    context.scale(pixels, pixels);
    const { columns } = this.history;
    const scale = this.history.scale();
    const [first, last] = [columns[0], columns.at(-1)];
    if (!scale || !first || !last) {
      this.legend.set("Waiting for a book");
      return;
    }
    const columnWidth = (width - SCALE_WIDTH) / Math.max(COLUMNS_MIN, columns.length);
    const left = width - SCALE_WIDTH - columns.length * columnWidth;
    const rowHeight = height / ((scale.high - scale.low) / scale.step);
    columns.forEach(({ levels }, at) => {
      for (const { priceE4, size, isBid } of levels) {
        const row = Math.floor((priceE4 - scale.low) / scale.step);
        context.globalAlpha = FAINTEST + (1 - FAINTEST) * Math.sqrt(size / scale.most);
        context.fillStyle = isBid ? this.colours.bid : this.colours.ask;
        context.fillRect(left + at * columnWidth, height - (row + 1) * rowHeight, Math.ceil(columnWidth), Math.ceil(rowHeight));
      }
    });
    this.prices(context, scale, width, height);
    this.legend.set(`${timeOfDay(first.ns)} – ${timeOfDay(last.ns)} ET   strongest ${whole(scale.most)} shares`);
  }

  private prices(context: CanvasRenderingContext2D, { low, high, step }: Scale, width: number, height: number): void {
    context.globalAlpha = 1;
    context.fillStyle = this.colours.text;
    context.font = "11px 'Inter Variable', system-ui, sans-serif";
    context.textBaseline = "middle";
    const rows = (high - low) / step;
    const every = Math.max(1, Math.ceil((LABEL_HEIGHT * rows) / height));
    for (let row = 0; row < rows; row += every) {
      context.fillText(price(low + row * step), width - SCALE_WIDTH + 8, height * (1 - (row + 0.5) / rows));
    }
  }
}
