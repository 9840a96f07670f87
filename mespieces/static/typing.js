// Typing aids: codes grouped and checked as they are typed, forms sent once.
"use strict";
(() => {
  const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const KINDS = {
    reference: { group: 4, total: 8, join: "-", checked: true, name: "cette référence" },
    secret: { group: 5, total: 20, join: "-", checked: true, name: "ce code" },
    digits: { group: 4, total: 8, join: " ", checked: false },
  };
  const SEPARATORS = /[\s\u00ad\u200b\u2060\u2010-\u2015\u2212_.-]/g;

  const bare = (text) => text.replace(SEPARATORS, "").toUpperCase();

  // Luhn mod 32, rightmost payload character doubled; O reads as 0, I and L as 1.
  function wellFormed(text) {
    const values = [...bare(text).replace(/O/g, "0").replace(/[IL]/g, "1")].map((c) => ALPHABET.indexOf(c));
    if (values.includes(-1)) return false;
    const sum = values.reverse().reduce((total, value, i) => {
      const weighted = i % 2 ? value * 2 : value;
      return total + Math.floor(weighted / 32) + (weighted % 32);
    }, 0);
    return sum % 32 === 0;
  }

  // The text in groups, or as it is when it is something else: nothing is ever cut.
  function grouped(text, kind) {
    const plain = bare(text);
    if (plain.length > kind.total || /[^0-9A-Z]/.test(plain)) return text;
    return plain.match(new RegExp(`.{1,${kind.group}}`, "g"))?.join(kind.join) ?? "";
  }

  // Where the caret goes: after as many characters as it had before it, separators not counted.
  function caretIn(text, before) {
    let at = 0;
    for (let left = before; left > 0 && at < text.length; at += 1) if (bare(text[at])) left -= 1;
    return at;
  }

  // What to say of a code once the person has left the field; an unfinished one is left in peace.
  function remark(text, kind) {
    const count = bare(text).length;
    if (!kind.checked || count < kind.total) return "";
    if (count > kind.total) {
      const extra = count - kind.total;
      return `Il y a ${extra} caractère${extra > 1 ? "s" : ""} de trop : comparez avec le feuillet, groupe par groupe.`;
    }
    return wellFormed(text) ? "" : `Il y a une faute de frappe dans ${kind.name} : comparez avec le feuillet, groupe par groupe.`;
  }

  if (typeof module === "object") { module.exports = { KINDS, wellFormed, grouped, caretIn, remark }; return; }

  function aid(input) {
    const kind = KINDS[input.dataset.code];
    if (!kind) return;
    const said = document.createElement("span");
    said.className = "said";
    said.id = `${input.id}-said`;
    said.setAttribute("aria-live", "polite");
    input.after(said);
    input.setAttribute("aria-describedby", `${input.getAttribute("aria-describedby") ?? ""} ${said.id}`.trim());

    const group = () => {
      const text = grouped(input.value, kind);
      if (text === input.value) return;
      const caret = caretIn(text, bare(input.value.slice(0, input.selectionStart ?? input.value.length)).length);
      input.value = text;
      if (document.activeElement === input) input.setSelectionRange(caret, caret);
    };
    const speak = () => {
      const text = remark(input.value, kind);
      if (said.textContent !== text) said.textContent = text;
      if (text) input.setAttribute("aria-invalid", "true");
      else if (kind.checked && bare(input.value)) input.removeAttribute("aria-invalid");
    };
    input.addEventListener("input", (event) => { if (!event.isComposing) group(); if (said.textContent) speak(); });
    input.addEventListener("compositionend", group);
    input.addEventListener("blur", speak);
    group();
  }

  // A form marked data-once leaves once; the page coming back from the history can send again.
  // Buttons are not disabled: a disabled button would not send its own value.
  function once(event) {
    const form = event.target;
    if (event.defaultPrevented || !form.matches("[data-once]")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
  }
  function again() {
    for (const form of document.querySelectorAll("[data-sent]")) {
      delete form.dataset.sent;
      for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
    }
  }

  document.querySelectorAll("input[data-code]").forEach(aid);
  document.addEventListener("submit", once);
  addEventListener("pageshow", again);
})();
