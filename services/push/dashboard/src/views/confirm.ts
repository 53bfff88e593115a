import { button, el } from "../dom";
import { describe, type OrderRequest } from "../order_draft";
import { openDialog } from "./dialog";

/** Asks a person about one order; resolves true where they say, once more, that it is meant. */
export function confirmOrder(order: OrderRequest, cautions: string[]): Promise<boolean> {
  return new Promise((decide) => {
    let meant = false;
    const back = button("plain", "Back", () => dialog.close());
    const send = button("submit", `Send: ${describe(order)}`, () => {
      meant = true;
      dialog.close();
    });
    const account = el("p", "", `Account ${order.account_id} · ${order.time_in_force}`);
    const reasons = el("ul", "cautions", ...cautions.map((one) => el("li", "", one)));
    const dialog = openDialog(describe(order), "confirm", [account, reasons, el("div", "dialog-buttons", back, send)], () => decide(meant));
    dialog.dataset["side"] = order.side;
    // The key that pressed the ticket's button may still be down: where it lands first, it sends nothing.
    back.focus();
  });
}
