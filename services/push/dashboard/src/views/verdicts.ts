import { button, el } from "../dom";
import { compared } from "../format";
import { describe, orderIdOf } from "../order_draft";
import type { Phase, Submission, Submissions } from "../submissions";

const NAMES: Record<Phase, string> = {
  sent: "Sent",
  asking: "No verdict",
  unanswered: "No verdict",
  accepted: "Accepted",
  denied: "Denied",
  refused: "Failed",
};

export const why = ({ title, compared: numbers }: Submission): string =>
  [title, ...Object.entries(numbers).map(([name, value]) => compared(name, value))].filter(Boolean).join("  ·  ");

/** What became of the orders sent from here, newest first, each with the account that it is for. */
export class Verdicts {
  readonly root = el("ol", "verdicts");
  private readonly nodes = new Map<Submission, HTMLElement>();

  constructor(private readonly submissions: Submissions) {
    this.root.setAttribute("aria-label", "Verdicts");
    this.root.tabIndex = 0;
  }

  paint(): void {
    const { all } = this.submissions;
    const wanted = new Set(all);
    for (const [submission, node] of this.nodes) {
      if (!wanted.has(submission)) {
        node.remove();
        this.nodes.delete(submission);
      }
    }
    for (const submission of [...all].reverse()) {
      let node = this.nodes.get(submission);
      if (!node) {
        node = el("li");
        this.nodes.set(submission, node);
        this.root.prepend(node);
      }
      this.fill(node, submission);
    }
  }

  private fill(node: HTMLElement, submission: Submission): void {
    const { order, phase, tookMs } = submission;
    node.className = `verdict ${phase}`;
    node.dataset["order"] = orderIdOf(order);
    node.title = `${orderIdOf(order)} · ${order.time_in_force}`;
    const took = phase === "sent" ? "…" : tookMs === undefined ? "" : `${tookMs.toFixed(1)} ms`;
    node.replaceChildren(
      el("span", "verdict-kind", NAMES[phase]),
      el("span", "verdict-what", describe(order)),
      el("span", "verdict-took", took),
      el("span", "verdict-why", [order.account_id, why(submission)].filter(Boolean).join("  ·  ")),
    );
    if (phase === "unanswered") {
      const again = button("plain", "Send the same again", () => void this.submissions.again(submission));
      const forget = button("plain", "Forget", () => this.submissions.forget(submission));
      node.append(el("span", "verdict-actions", again, forget));
    }
  }
}
