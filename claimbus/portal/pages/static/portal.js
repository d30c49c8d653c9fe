// What pages do beyond links and forms. Without this file everything still works, but for what is live.
"use strict";

const root = document.documentElement;

// htmx: the session's token goes with everything that changes something.
document.addEventListener("htmx:config:request", (event) => {
  const { csrf } = document.body.dataset;
  if (csrf) event.detail.ctx.request.headers["x-csrf"] = csrf;
});

document.addEventListener("click", async (event) => {
  const themed = event.target.closest("[data-theme-switch]");
  if (themed) {
    const dark = root.dataset.theme === "dark" || (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    copy.classList.add("done");
    setTimeout(() => copy.classList.remove("done"), 1200);
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// A form that asks before it goes.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = form.dataset.ask;
  if (!question || form.dataset.asked) return;
  event.preventDefault();
  event.stopPropagation();
  const dialog = document.getElementById("ask");
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    form.dataset.asked = "yes";
    form.requestSubmit(event.submitter);
    delete form.dataset.asked;
  }, { once: true });
}, true);

// Server-sent events: each message is the HTML of its element. It is merged, so that focus and selection stay.
for (const live of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(live.dataset.live);
  source.onopen = () => live.classList.remove("stale");
  source.onerror = () => {
    live.classList.add("stale");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  };
  source.onmessage = ({ data }) => htmx.swap({ text: data, target: live, sourceElement: live, swap: "innerMorph" });
  source.addEventListener("end", () => { source.close(); location.reload(); });
}

// On a narrow screen the menu is closed, until somebody opens it; on a wide one it cannot be closed.
const narrow = matchMedia("(max-width: 899px)");
const fold = () => { for (const burger of document.querySelectorAll("details.burger")) burger.open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();
