// The end of the session: a warning two minutes before, renewed without leaving the page; nothing stays shown after it.
"use strict";
(() => {
  const told = document.body.dataset;
  if (!told.sessionUrl) return;
  const SOON = 120000;
  const MINUTES = "Votre session se termine dans moins de deux minutes";
  let ends = 0;
  let limit = 0;
  let over = false;
  let asking = false;
  let dialog = null;
  let dismissed = false;

  // Durations, not instants: the clock of this browser may be wrong.
  function know(left, most) {
    ends = Date.now() + left * 1000;
    limit = Date.now() + most * 1000;
  }

  const element = (tag, attributes, ...inside) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  };

  // Asking (GET) renews nothing; a session that is over leads elsewhere, which is not followed.
  async function ask(method) {
    const headers = { Accept: "application/json" };
    if (method === "POST") headers["X-CSRFToken"] = told.sessionToken;
    const answer = await fetch(told.sessionUrl, { method, headers, redirect: "manual" });
    if (answer.type === "opaqueredirect") return false;
    if (!answer.ok) throw new Error(String(answer.status));
    const { left, limit: most } = await answer.json();
    know(left, most);
    return true;
  }

  function close() {
    dialog?.close(); // the focus goes back to where it was
    dialog?.remove();
    dialog = null;
  }

  function warn(words, label, act) {
    close();
    const button = element("button", { type: "button", class: "btn", autofocus: "" }, label);
    button.addEventListener("click", act);
    dialog = element("dialog", { role: "alertdialog", class: "ending", "aria-labelledby": "ending-h", "aria-describedby": "ending-p" },
      element("h2", { id: "ending-h" }, "Fin de votre session"), element("p", { id: "ending-p" }, words), button);
    dialog.addEventListener("cancel", () => { dismissed = true; });
    document.body.append(dialog);
    dialog.showModal();
  }

  function dismiss() { dismissed = true; close(); }

  async function goOn() {
    try {
      if (!await ask("POST")) { finish(); return; }
      close();
      look();
    } catch { warn("La connexion ne répond pas : votre session n’est pas prolongée.", "Réessayer", goOn); }
  }

  // The session is over on the server: what was shown goes, for whoever comes after in front of this screen.
  function finish() {
    over = true;
    close();
    const heading = element("h1", { tabindex: "-1" }, "Votre session est terminée");
    const back = element("a", { class: "btn", href: told.signIn }, "S’identifier de nouveau");
    document.title = "Session terminée – Mes Pièces";
    for (const one of document.querySelectorAll(".nav, .who, footer, main > :not(.wrap)")) one.remove();
    document.querySelector("main > .wrap").replaceChildren(heading,
      element("p", {}, "Ce que cette page montrait n’est plus affiché. Pour continuer, identifiez-vous de nouveau."), element("p", {}, back));
    document.querySelector("main").hidden = false;
    heading.focus();
  }

  // The server does not answer, and the time is over: hidden until it is known.
  function conceal() {
    document.querySelector("main").hidden = true;
    warn("Le délai est écoulé et la connexion ne répond pas : la page est masquée.", "Réessayer", () => { close(); check(); });
  }

  // Another tab may have renewed the session, or left it: the server knows.
  async function check() {
    if (over || asking) return;
    asking = true;
    try {
      if (!await ask("GET")) { finish(); return; }
      document.querySelector("main").hidden = false;
      remind();
    } catch { if (Date.now() >= ends) conceal(); } finally { asking = false; }
  }

  function remind() {
    if (ends - Date.now() > SOON) { dismissed = false; close(); return; }
    if (dialog || dismissed) return;
    if (limit - ends > 1000) warn(`${MINUTES}. Ce que vous avez saisi reste sur la page.`, "Continuer", goOn);
    else warn(`${MINUTES} et ne peut plus être prolongée : elle dure au plus ${told.sessionLongest}. Terminez ce que vous faites, puis identifiez-vous de nouveau.`, "J’ai compris", dismiss);
  }

  function look() {
    const left = ends - Date.now();
    if (left > SOON) close();
    else if (left <= 0 ? !document.querySelector("main").hidden : !dialog && !dismissed) check();
  }

  know(Number(told.sessionLeft), Number(told.sessionLimit));
  setInterval(look, 5000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) check(); });
  // A page kept by the browser comes back as it was, after a sign-out too: it is hidden, and asked again.
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    document.querySelector("main").hidden = true;
    location.reload();
  });
  look();
})();
