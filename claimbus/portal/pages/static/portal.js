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

// A form that asks before it goes; if it has a reason that nobody sees, it asks for that as well.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const { action, dataset: { ask: question } } = form;
  if (!question || form.dataset.asked) return;
  event.preventDefault();
  event.stopPropagation();
  const dialog = document.getElementById("ask");
  const [no, yes] = dialog.querySelectorAll("button");
  const isGrave = event.submitter?.classList.contains("danger") ?? false;
  dialog.querySelector("p").textContent = question;
  const reason = form.querySelector("input[type=hidden][name=reason]");
  const why = dialog.querySelector("#why");
  why.parentElement.hidden = !reason;
  why.value = reason?.value ?? "";
  why.onkeydown = (pressed) => {
    if (pressed.key !== "Enter") return;
    pressed.preventDefault(); // a form's first button would be its answer
    yes.click();
  };
  yes.textContent = event.submitter?.textContent ?? "Go on";
  yes.classList.toggle("danger", isGrave);
  dialog.returnValue = "no";
  dialog.showModal();
  (isGrave ? no : yes).focus();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes" || form.action !== action) return; // what goes on by itself may have become another's
    if (reason) reason.value = why.value;
    form.dataset.asked = "yes";
    form.requestSubmit(event.submitter);
    delete form.dataset.asked;
  }, { once: true });
}, true);

// What was sent is not sent once more by a second click.
document.addEventListener("submit", (event) => {
  const { dataset, method } = event.target;
  if (method !== "post") return;
  if (dataset.sent) event.preventDefault();
  dataset.sent = "yes";
  setTimeout(() => delete dataset.sent, 5000);
});

// Server-sent events: each message is the HTML of its element. It is merged, so that focus and selection stay.
// A page that nobody sees listens to none: being looked at is what keeps a session.
for (const live of document.querySelectorAll("[data-live]")) {
  let source;
  const again = () => fetch(location.href).then(({ status }) => (status < 500 ? location.reload() : Promise.reject())).catch(() => setTimeout(again, 5000));
  const listen = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(live.dataset.live);
    source.onopen = () => live.classList.remove("stale");
    source.onerror = () => {
      live.classList.add("stale");
      if (source.readyState === EventSource.CLOSED) setTimeout(again, 5000);
    };
    source.onmessage = ({ data }) => htmx.swap({ text: data, target: live, sourceElement: live, swap: "innerMorph" });
    source.addEventListener("end", () => { source.close(); location.reload(); });
  };
  document.addEventListener("visibilitychange", listen);
  listen();
}

// What is away, or was asked for too often, is asked for again.
for (const { dataset } of document.querySelectorAll("[data-again]")) setTimeout(() => location.reload(), 1000 * dataset.again);

// On a narrow screen the menu is closed, until somebody opens it; on a wide one it cannot be closed.
const narrow = matchMedia("(max-width: 899px)");
const fold = () => { for (const burger of document.querySelectorAll("details.burger")) burger.open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();
