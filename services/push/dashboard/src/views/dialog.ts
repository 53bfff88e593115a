import { el, freshId } from "../dom";

/** A modal dialog with a heading. It is in the page only while it is open; `closed` hears that it was left. */
export function openDialog(title: string, className: string, content: (Node | string)[], closed?: () => void): HTMLDialogElement {
  const heading = el("h2", "", title);
  heading.id = freshId("heading");
  const dialog = el("dialog", `dialog ${className}`, el("header", "dialog-head", heading), ...content);
  dialog.setAttribute("aria-labelledby", heading.id);
  // A key of the desk must not act behind the dialog; Escape closes it by the browser's own rule. The key that opened it may
  // still be down, and its repeats press no button.
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && event.repeat) event.preventDefault();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
